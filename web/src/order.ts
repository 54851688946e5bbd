// Which cases the table shows, and in which order. Pure.
import type { Case } from './api'

export type Order = 'worst' | 'id' | 'modality' | 'expected' | 'state'

/** Cases whose id, modality, state or notes hold every word of `filter`. */
export function filtered(cases: Case[], filter: string): Case[] {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean)
  if (words.length === 0) return cases
  return cases.filter((scan) => {
    const text = [scan.id, scan.modality ?? '', stateWord(scan), ...scan.notes].join(' ').toLowerCase()
    return words.every((word) => text.includes(word))
  })
}

const collator = new Intl.Collator(undefined, { numeric: true })

/** Cases in an order. `worst` is the server's own; unknown values come last. */
export function ordered(cases: Case[], order: Order): Case[] {
  if (order === 'worst') return cases
  const byId = (a: Case, b: Case): number => collator.compare(a.id, b.id)
  const key: Record<Exclude<Order, 'worst'>, (a: Case, b: Case) => number> = {
    id: byId,
    modality: (a, b) => collator.compare(a.modality ?? '\uffff', b.modality ?? '\uffff'),
    expected: (a, b) => (a.expected_dice ?? 2) - (b.expected_dice ?? 2),
    state: (a, b) => collator.compare(stateWord(a), stateWord(b)),
  }
  return [...cases].sort((a, b) => key[order](a, b) || byId(a, b))
}

/** One word or two for where a case stands. */
export function stateWord(scan: Case): string {
  if (scan.state === 'fault') return scan.shape ? 'failed' : 'cannot be used'
  if (scan.state === 'reference') return 'reference'
  if (scan.corrected) return 'corrected'
  if (scan.segmented) return 'segmented'
  return scan.drawn ? 'drawn' : 'new'
}

/** The case `step` places after (or before) one, in the order shown; null at the end. */
export function neighbour(cases: Case[], id: string, step: 1 | -1): Case | null {
  const here = cases.findIndex((scan) => scan.id === id)
  return here < 0 ? (cases[0] ?? null) : (cases[here + step] ?? null)
}

/** Spacing in millimetres as people write it, without the unit. */
export function spacingText(spacing: number[] | null): string {
  if (!spacing) return ''
  return spacing.map((value) => String(Number(value.toFixed(2)))).join(' × ')
}

export function volumeText(ml: number): string {
  return ml >= 100 ? `${ml.toFixed(0)} ml` : `${ml.toPrecision(3)} ml`
}
