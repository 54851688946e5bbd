import { expect, test } from 'vitest'
import type { Case } from '../src/api'
import { filtered, neighbour, ordered, spacingText, stateWord } from '../src/order'

function scan(id: string, more: Partial<Case> = {}): Case {
  return {
    id, state: 'new', segmented: false, modality: null, shape: null, spacing_mm: null, agreement: null, expected_dice: null,
    volumes_ml: {}, notes: [], error: null, drawn: false, corrected: false, reference: false, revision: '', ...more,
  }
}

const ids = (cases: Case[]): string[] => cases.map(({ id }) => id)

test('every word of the filter must be somewhere in id, modality, state or notes', () => {
  const cases = [scan('ct_1', { modality: 'CT' }), scan('mr_1', { notes: ['liver is large'] }), scan('ct_2', { state: 'reference' })]
  expect(ids(filtered(cases, ' CT '))).toEqual(['ct_1', 'ct_2'])
  expect(ids(filtered(cases, 'ct reference'))).toEqual(['ct_2'])
  expect(ids(filtered(cases, 'LARGE'))).toEqual(['mr_1'])
  expect(filtered(cases, '')).toBe(cases)
})

test('worst first is the order of the server', () => {
  const cases = [scan('b'), scan('a')]
  expect(ordered(cases, 'worst')).toBe(cases)
})

test('names are ordered as people count', () => {
  expect(ids(ordered([scan('s10'), scan('s9'), scan('s1')], 'id'))).toEqual(['s1', 's9', 's10'])
})

test('what expects no Dice comes after all that have one, then by name', () => {
  const cases = [scan('d'), scan('c'), scan('b', { expected_dice: 0.9 }), scan('a', { expected_dice: 0.5 }), scan('e', { expected_dice: 0 })]
  expect(ids(ordered(cases, 'expected'))).toEqual(['e', 'a', 'b', 'c', 'd'])
})

test('a step leads to the neighbour in the order shown, and nowhere at the ends', () => {
  const cases = [scan('b'), scan('a'), scan('c')]
  expect(neighbour(cases, 'a', 1)?.id).toBe('c')
  expect(neighbour(cases, 'a', -1)?.id).toBe('b')
  expect(neighbour(cases, 'c', 1)).toBeNull()
  expect(neighbour(cases, 'b', -1)).toBeNull()
  expect(neighbour(cases, 'gone', 1)?.id).toBe('b')
})

test('one word tells where a case stands', () => {
  expect(stateWord(scan('a'))).toBe('new')
  expect(stateWord(scan('a', { state: 'drawn', drawn: true }))).toBe('drawn')
  expect(stateWord(scan('a', { state: 'segmented', segmented: true }))).toBe('segmented')
  expect(stateWord(scan('a', { state: 'segmented', segmented: true, drawn: true, corrected: true }))).toBe('corrected')
  expect(stateWord(scan('a', { state: 'reference', segmented: true, corrected: true }))).toBe('reference')
  expect(stateWord(scan('a', { state: 'fault', segmented: true }))).toBe('cannot be used')
  expect(stateWord(scan('a', { state: 'fault', shape: [9, 9, 9] }))).toBe('failed')
})

test('spacing has two decimals at most', () => {
  expect(spacingText([0.97656, 1, 2.5])).toBe('0.98 × 1 × 2.5')
  expect(spacingText(null)).toBe('')
})
