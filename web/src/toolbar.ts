// Above the picture: tools of the hand, window, layout, opacity.
import type { Hand, Tool } from './brush'
import { button, h, refill } from './dom'
import type { Layout } from './viewer'
import type { Preset } from './windows'

export interface ToolbarActions {
  tool: (tool: Tool) => void
  hand: (patch: Partial<Hand>) => void
  between: () => void
  undo: () => void
  clear: () => void
  window: (low: number, high: number) => void
  layout: (layout: Layout) => void
  opacity: (opacity: number) => void
}

const TOOLS: [Tool, string, string][] = [
  ['look', 'Look', 'Move the crosshair (v)'],
  ['brush', 'Brush', 'Draw the chosen structure (b)'],
  ['erase', 'Eraser', 'Take away from the chosen structure (e)'],
  ['fill', 'Fill', 'Click inside a closed outline of a slice (f)'],
  ['grow', 'Grow', 'Click: neighbours of like brightness, in 3D (g)'],
]
const LAYOUTS: [Layout, string][] = [
  ['axial', 'Axial large'],
  ['coronal', 'Coronal large'],
  ['sagittal', 'Sagittal large'],
  ['equal', 'All equal'],
  ['3d', '3D only'],
]
const CUSTOM = 'own'

/** What the toolbar shows; it keeps none of it. */
export interface ToolbarState {
  hand: Hand
  canDraw: boolean
  canUndo: boolean
}

export class Toolbar {
  readonly element = h('div', { class: 'toolbar', role: 'toolbar', 'aria-label': 'Tools' })
  private readonly act: ToolbarActions
  private readonly tools = new Map<Tool, HTMLButtonElement>()
  private readonly size = h('output', {})
  private readonly sizeRange: HTMLInputElement
  private readonly ball: HTMLInputElement
  private readonly tolerance: HTMLInputElement
  private readonly pen: HTMLElement
  private readonly growing: HTMLElement
  private readonly undo: HTMLButtonElement
  private readonly edits: HTMLButtonElement[]
  private readonly preset: HTMLSelectElement
  private readonly low: HTMLInputElement
  private readonly high: HTMLInputElement
  readonly layout: HTMLSelectElement
  /** What changes the drawing at once; stands beside it. */
  readonly editing: HTMLElement
  readonly opacity: HTMLElement
  private presets: Preset[] = []
  /** The preset last chosen by its name, kept from scan to scan. */
  private wanted = ''

  constructor(act: ToolbarActions) {
    this.act = act
    for (const [tool, name, title] of TOOLS) {
      this.tools.set(tool, button(name, () => act.tool(tool), { title, 'aria-pressed': 'false' }))
    }
    this.sizeRange = range('Size of the brush in mm', 1, 80, 1, (value) => act.hand({ size: value }))
    this.ball = h('input', { type: 'checkbox', change: () => act.hand({ ball: this.ball.checked }) })
    this.tolerance = range('How far brightness may differ', 0, 100, 1, (value) => act.hand({ tolerance: value }))
    this.pen = h('span', { class: 'group' }, h('label', {}, 'Size ', this.sizeRange, this.size),
      h('label', { title: 'Paint a ball through several slices' }, this.ball, ' in 3D'))
    this.growing = h('span', { class: 'group' }, h('label', {}, 'Tolerance ', this.tolerance))
    this.undo = button('Undo', act.undo, { title: 'Take back the last stroke (ctrl+z)' })
    this.edits = [
      button('Fill between', act.between, { title: 'Draw in every few slices, then fill those between (i)' }),
      button('Clear', act.clear, { title: 'Empty the chosen structure in this scan' }),
    ]
    this.preset = h('select', { 'aria-label': 'Window', change: () => this.choosePreset() })
    this.low = number('Black at', () => this.chooseOwn())
    this.high = number('White at', () => this.chooseOwn())
    this.layout = h('select', { 'aria-label': 'Layout', change: () => act.layout(this.layout.value as Layout) },
      ...LAYOUTS.map(([value, name]) => h('option', { value }, name)))
    const opacity = range('Opacity of the labels', 0, 1, 0.05, act.opacity)
    opacity.value = '0.5'
    this.opacity = h('label', { class: 'quiet opacity' }, 'Opacity ', opacity)
    this.editing = h('div', { class: 'row' }, this.undo, ...this.edits)
    this.element.append(
      h('span', { class: 'group tools' }, ...this.tools.values()), this.pen, this.growing,
      h('span', { class: 'group right' }, h('label', {}, 'Window ', this.preset), this.low, this.high))
  }

  show({ hand, canDraw, canUndo }: ToolbarState): void {
    for (const [tool, element] of this.tools) {
      element.setAttribute('aria-pressed', String(tool === hand.tool))
      element.disabled = tool !== 'look' && !canDraw
    }
    this.sizeRange.value = String(hand.size)
    this.size.value = `${hand.size} mm`
    this.ball.checked = hand.ball
    this.tolerance.value = String(hand.tolerance)
    this.pen.hidden = hand.tool !== 'brush' && hand.tool !== 'erase'
    this.growing.hidden = hand.tool !== 'grow'
    this.undo.disabled = !canUndo
    for (const element of this.edits) element.disabled = !canDraw
  }

  /** The tolerance goes up to half of what the window spans. */
  setSpread(spread: number): void {
    this.tolerance.max = String(spread / 2)
    this.tolerance.step = String(spread / 200)
  }

  /** Offer windows. One chosen by name before is taken again where it is among them. */
  offer(presets: Preset[]): void {
    this.presets = presets
    refill(this.preset, ...presets.map(({ name }) => h('option', { value: name }, name)), h('option', { value: CUSTOM }, 'Own'))
    const known = presets.find(({ name }) => name === this.wanted) ?? presets[0]
    if (!known) return
    this.preset.value = known.name
    this.showWindow(known.low, known.high)
    this.act.window(known.low, known.high)
  }

  /** Tell a window that was set on the picture. */
  showOwn(low: number, high: number): void {
    this.preset.value = CUSTOM
    this.showWindow(low, high)
  }

  private showWindow(low: number, high: number): void {
    this.low.value = tidy(low)
    this.high.value = tidy(high)
  }

  private choosePreset(): void {
    const preset = this.presets.find(({ name }) => name === this.preset.value)
    if (!preset) return
    this.wanted = preset.name
    this.showWindow(preset.low, preset.high)
    this.act.window(preset.low, preset.high)
  }

  private chooseOwn(): void {
    this.preset.value = CUSTOM
    this.act.window(Number(this.low.value), Number(this.high.value))
  }
}

function tidy(value: number): string {
  return String(Number(value.toPrecision(4)))
}

function range(label: string, min: number, max: number, step: number, input: (value: number) => void): HTMLInputElement {
  const element = h('input', { type: 'range', min, max, step, 'aria-label': label, title: label, input: () => input(Number(element.value)) })
  return element
}

function number(label: string, change: () => void): HTMLInputElement {
  return h('input', { type: 'number', step: 'any', 'aria-label': label, title: label, change })
}
