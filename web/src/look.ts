// How a scan is shown: window, layout, opacity. For the page and for reports.
import { h, refill } from './dom'
import type { Layout } from './viewer'
import type { Preset } from './windows'

export interface LookActions {
  window: (low: number, high: number) => void
  layout: (layout: Layout) => void
  opacity: (opacity: number) => void
}

const LAYOUTS: [Layout, string][] = [
  ['axial', 'Axial large'],
  ['coronal', 'Coronal large'],
  ['sagittal', 'Sagittal large'],
  ['equal', 'All equal'],
  ['3d', '3D only'],
]
const CUSTOM = 'own'
export const OPACITY = 0.5 // of labels, at first

export class Look {
  readonly windows: HTMLElement
  readonly layout: HTMLSelectElement
  readonly opacity: HTMLElement
  private readonly act: LookActions
  private readonly preset: HTMLSelectElement
  private readonly low: HTMLInputElement
  private readonly high: HTMLInputElement
  private presets: Preset[] = []
  /** The preset last chosen by its name, kept from scan to scan. */
  private wanted = ''

  constructor(act: LookActions) {
    this.act = act
    this.preset = h('select', { 'aria-label': 'Window', change: () => this.choosePreset() })
    this.low = number('Black at', () => this.chooseOwn())
    this.high = number('White at', () => this.chooseOwn())
    this.windows = h('span', { class: 'group right' }, h('label', {}, 'Window ', this.preset), this.low, this.high)
    this.layout = h('select', { 'aria-label': 'Layout', change: () => act.layout(this.layout.value as Layout) },
      ...LAYOUTS.map(([value, name]) => h('option', { value }, name)))
    const opacity = range('Opacity of the labels', 0, 1, 0.05, act.opacity)
    opacity.value = String(OPACITY)
    this.opacity = h('label', { class: 'quiet opacity' }, 'Opacity ', opacity)
  }

  nextLayout(): void {
    this.layout.selectedIndex = (this.layout.selectedIndex + 1) % this.layout.options.length
    this.layout.dispatchEvent(new Event('change'))
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

export function range(label: string, min: number, max: number, step: number, input: (value: number) => void): HTMLInputElement {
  const element = h('input', { type: 'range', min, max, step, 'aria-label': label, title: label, input: () => input(Number(element.value)) })
  return element
}

function number(label: string, change: () => void): HTMLInputElement {
  return h('input', { type: 'number', step: 'any', 'aria-label': label, title: label, change })
}
