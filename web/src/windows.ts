// Windows: which values are black and which are white. Pure.

export interface Preset {
  name: string
  low: number
  high: number
}

const CT: Preset[] = [
  { name: 'Soft tissue', low: -160, high: 240 },
  { name: 'Lung', low: -1350, high: 150 },
  { name: 'Bone', low: -450, high: 1050 },
  { name: 'Brain', low: 0, high: 80 },
]
const SHARES: [string, number, number][] = [
  ['0.5 to 99.5 %', 0.005, 0.995],
  ['2 to 98 %', 0.02, 0.98],
  ['10 to 99.9 %', 0.1, 0.999],
]
const SAMPLES = 50_000

/** Values at shares (0 to 1) of a sample of the voxels; NaN is left out. */
export function percentiles(voxels: ArrayLike<number>, shares: number[]): number[] {
  const step = Math.max(1, Math.floor(voxels.length / SAMPLES))
  const sample: number[] = []
  for (let i = 0; i < voxels.length; i += step) {
    const value = voxels[i]!
    if (Number.isFinite(value)) sample.push(value)
  }
  sample.sort((a, b) => a - b)
  return shares.map((share) => sample[Math.min(sample.length - 1, Math.floor(share * sample.length))] ?? NaN)
}

/** Presets of a modality: tissues for CT, shares of the values for all else; first the server's own. */
export function presets(
  modality: string | null,
  usual: [number, number],
  voxels: ArrayLike<number>,
  scale: (raw: number) => number = (raw) => raw,
): Preset[] {
  const shares = percentiles(voxels, [...SHARES.flatMap(([, low, high]) => [low, high]), 0, 1]).map(scale)
  const pair = (index: number, name: string): Preset => ({ name, low: shares[2 * index]!, high: shares[2 * index + 1]! })
  const whole = pair(SHARES.length, 'All values')
  const others = modality === 'CT' ? CT : SHARES.map(([name], index) => pair(index, name))
  const first = Number.isFinite(usual[0]) ? [{ name: 'Usual', low: usual[0], high: usual[1] }] : []
  return [...first, ...others, whole].filter((preset) => preset.high > preset.low)
}
