import { expect, test } from 'vitest'
import { percentiles, presets } from '../src/windows'

const ramp = Float32Array.from({ length: 1001 }, (_, i) => i)

test('percentiles of a ramp are its shares, and NaN is left out', () => {
  expect(percentiles(ramp, [0, 0.5, 1])).toEqual([0, 500, 1000])
  expect(percentiles([NaN, 3, NaN, 5], [0, 1])).toEqual([3, 5])
})

test('a large volume is sampled, and the shares stay near', () => {
  const large = Float32Array.from({ length: 400_000 }, (_, i) => i / 400)
  const [low, high] = percentiles(large, [0.02, 0.98])
  expect(low).toBeCloseTo(20, 0)
  expect(high).toBeCloseTo(980, 0)
})

test('CT has tissues, all else has shares; the usual window of the server is first', () => {
  expect(presets('CT', [-160, 240], ramp).map(({ name }) => name)).toEqual(['Usual', 'Soft tissue', 'Lung', 'Bone', 'Brain', 'All values'])
  const mr = presets('MR', [10, 900], ramp)
  expect(mr[0]).toEqual({ name: 'Usual', low: 10, high: 900 })
  expect(mr[2]).toEqual({ name: '2 to 98 %', low: 20, high: 980 })
})

test('shares are told in the values people know, and windows without width are not offered', () => {
  const scaled = presets(null, [NaN, NaN], ramp, (raw) => 2 * raw - 1000)
  expect(scaled.at(-1)).toEqual({ name: 'All values', low: -1000, high: 1000 })
  expect(presets(null, [NaN, NaN], new Float32Array(10))).toEqual([])
})
