// Above the picture: tools of the hand, and how the scan is shown.
import type { Hand, Tool } from './brush'
import { button, h } from './dom'
import { Look, range, type LookActions } from './look'

export interface ToolbarActions extends LookActions {
  tool: (tool: Tool) => void
  hand: (patch: Partial<Hand>) => void
  between: () => void
  undo: () => void
  clear: () => void
}

const TOOLS: [Tool, string, string][] = [
  ['look', 'Look', 'Move the crosshair (v)'],
  ['brush', 'Brush', 'Draw the chosen structure (b)'],
  ['erase', 'Eraser', 'Take away from the chosen structure (e)'],
  ['fill', 'Fill', 'Click inside a closed outline of a slice (f)'],
  ['grow', 'Grow', 'Click: neighbours of like brightness, in 3D (g)'],
]

/** What the toolbar shows; it keeps none of it. */
export interface ToolbarState {
  hand: Hand
  canDraw: boolean
  canUndo: boolean
}

export class Toolbar {
  readonly element = h('div', { class: 'toolbar', role: 'toolbar', 'aria-label': 'Tools' })
  readonly look: Look
  private readonly tools = new Map<Tool, HTMLButtonElement>()
  private readonly size = h('output', {})
  private readonly sizeRange: HTMLInputElement
  private readonly ball: HTMLInputElement
  private readonly tolerance: HTMLInputElement
  private readonly pen: HTMLElement
  private readonly growing: HTMLElement
  private readonly undo: HTMLButtonElement
  private readonly edits: HTMLButtonElement[]
  /** What changes the drawing at once; stands beside it. */
  readonly editing: HTMLElement

  constructor(act: ToolbarActions) {
    this.look = new Look(act)
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
    this.editing = h('div', { class: 'row' }, this.undo, ...this.edits)
    this.element.append(
      h('span', { class: 'group tools' }, ...this.tools.values()), this.pen, this.growing, this.look.windows)
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
}
