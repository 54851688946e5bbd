// The cohort as a table: one row per scan, worst first.
import { thumbnailAddress, type Case } from './api'
import { button, h, refill, setText } from './dom'
import { filtered, ordered, spacingText, stateWord, type Order } from './order'
import type { State } from './state'

const COLUMNS: [string, Order | null][] = [
  ['', null],
  ['Scan', 'id'],
  ['Modality', 'modality'],
  ['Spacing (mm)', null],
  ['Expected Dice', 'expected'],
  ['State', 'state'],
]

interface Row {
  element: HTMLElement
  told: string
}

export class Table {
  readonly element: HTMLElement
  readonly filter: HTMLInputElement
  private readonly state: State
  private readonly open: (id: string) => void
  private readonly rows = new Map<string, Row>()
  private readonly body = h('div', { role: 'rowgroup', class: 'rows' })
  private readonly count = h('span', { class: 'quiet', role: 'status' })
  private readonly empty = h('p', { class: 'empty' })
  private readonly heads: HTMLElement
  private order: Order = 'worst'
  /** The row that the keyboard is on. */
  private current = ''

  constructor(state: State, open: (id: string) => void) {
    this.state = state
    this.open = open
    this.filter = h('input', {
      type: 'search',
      placeholder: 'Filter by name, modality or state',
      'aria-label': 'Filter scans',
      input: () => this.render(),
    })
    this.heads = h('div', { role: 'row', class: 'heads' })
    const table = h('div', { role: 'table', 'aria-label': 'Scans of the cohort', class: 'table' },
      h('div', { role: 'rowgroup' }, this.heads), this.body)
    this.element = h('section', { class: 'cohort', 'aria-label': 'Cohort' },
      h('div', { class: 'bar' }, h('h2', {}, 'Cohort'), this.filter, this.worstButton(), this.count),
      table, this.empty)
    this.renderHeads()
    state.watch(() => this.render())
  }

  /** Cases as they are shown now, in their order. */
  shown(): Case[] {
    return ordered(filtered(this.state.known.cases ?? [], this.filter.value), this.order)
  }

  /** Put the keyboard on a row. */
  focus(id: string): void {
    this.current = id
    const row = this.rows.get(id)?.element
    for (const [other, { element }] of this.rows) element.tabIndex = other === id ? 0 : -1
    row?.focus()
    row?.scrollIntoView({ block: 'nearest' })
  }

  get focused(): string {
    return this.current
  }

  private worstButton(): HTMLElement {
    return button('Worst first', () => this.setOrder('worst'), { id: 'worst', class: 'small' })
  }

  private setOrder(order: Order): void {
    this.order = order
    this.renderHeads()
    this.render()
  }

  private renderHeads(): void {
    const cells = COLUMNS.map(([title, order]) => {
      const sorted = order !== null && order === this.order
      const inside = order ? button(title, () => this.setOrder(order), { class: 'head' }) : title
      return h('div', { role: 'columnheader', 'aria-sort': sorted ? 'ascending' : null }, inside)
    })
    refill(this.heads, ...cells)
    const worst = this.element?.querySelector('#worst')
    worst?.setAttribute('aria-pressed', String(this.order === 'worst'))
  }

  private render(): void {
    const { cases, error } = this.state.known
    const shown = this.shown()
    const wanted = shown.map((scan) => this.row(scan))
    const same = wanted.length === this.body.childElementCount && wanted.every((row, i) => this.body.children[i] === row)
    if (!same) this.body.replaceChildren(...wanted)
    this.forget(new Set((cases ?? []).map((scan) => scan.id)))
    if (!shown.some((scan) => scan.id === this.current)) this.current = shown[0]?.id ?? ''
    const first = this.rows.get(this.current)?.element
    if (first) first.tabIndex = 0
    setText(this.count, cases ? countText(shown.length, cases.length) : '')
    this.empty.hidden = shown.length > 0
    setText(this.empty, emptyText(cases, error))
    this.element.setAttribute('aria-busy', String(cases === null))
  }

  /** The element of a case, made anew only where something about it changed. */
  private row(scan: Case): HTMLElement {
    const told = JSON.stringify(scan)
    const known = this.rows.get(scan.id)
    if (known?.told === told) return known.element
    const element = this.makeRow(scan)
    if (known?.element === document.activeElement) requestAnimationFrame(() => element.focus())
    this.rows.set(scan.id, { element, told })
    return element
  }

  private forget(ids: Set<string>): void {
    for (const id of this.rows.keys()) if (!ids.has(id)) this.rows.delete(id)
  }

  private makeRow(scan: Case): HTMLElement {
    const cell = (...inside: Parameters<typeof h>[2][]): HTMLElement => h('div', { role: 'cell' }, ...inside)
    return h('div', {
      role: 'row',
      class: `row-${scan.state}`,
      tabindex: scan.id === this.current ? 0 : -1,
      click: () => this.open(scan.id),
      keydown: (event) => (event as KeyboardEvent).key === 'Enter' && this.open(scan.id),
      focus: () => (this.current = scan.id),
    },
      cell(thumbnail(scan)),
      cell(h('span', { class: 'name', title: scan.id }, scan.id), remark(scan)),
      cell(scan.modality ?? '–'),
      cell(spacingText(scan.spacing_mm) || '–'),
      cell(expectedBar(scan.expected_dice)),
      cell(stateMark(scan)),
    )
  }
}

function thumbnail(scan: Case): HTMLElement {
  if (!scan.shape) return h('div', { class: 'thumb none', 'aria-hidden': 'true' }, '!')
  return h('img', { class: 'thumb', src: thumbnailAddress(scan), alt: '', loading: 'lazy', decoding: 'async' })
}

function remark(scan: Case): HTMLElement | null {
  if (scan.error) return h('span', { class: 'remark bad', title: scan.error }, scan.error)
  if (scan.notes.length === 0) return null
  const text = scan.notes.join(' · ')
  return h('span', { class: 'remark odd', title: text }, text)
}

export function stateMark(scan: Case): HTMLElement {
  const word = stateWord(scan)
  return h('span', { class: `mark ${word.replaceAll(' ', '-')}` }, word)
}

/** What Dice a result expects of the structure that it is least sure of. No colour: it only ranks. */
export function expectedBar(dice: number | null): HTMLElement {
  return bar(dice, '', 'Told where something was found; too high, but the least are where to look first')
}

/** How well the references agree about a result: a bar with its number. */
export function agreementBar(agreement: number | null): HTMLElement {
  const tone = agreement === null ? '' : agreement >= 0.85 ? 'good' : agreement >= 0.7 ? 'odd' : 'bad'
  return bar(agreement, tone, 'Told where two references or more vote')
}

function bar(value: number | null, tone: string, title: string): HTMLElement {
  if (value === null) return h('span', { class: 'quiet', title }, '–')
  const fill = h('span', { class: `fill ${tone}` })
  fill.style.width = `${Math.round(100 * value)}%`
  return h('span', { class: 'agreement', title }, h('span', { class: 'track', 'aria-hidden': 'true' }, fill), value.toFixed(2))
}

function countText(shown: number, all: number): string {
  return shown === all ? `${all} scan${all === 1 ? '' : 's'}` : `${shown} of ${all} scans`
}

function emptyText(cases: Case[] | null, error: string): string {
  if (cases === null) return error ? '' : 'Reading the scans …'
  return cases.length === 0 ? 'There is no scan in what mass3d serve was given.' : 'No scan fits this filter.'
}
