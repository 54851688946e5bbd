// The viewer of reports: the page's own, for scans that lie beside a report. Nothing is drawn, nothing asked.
// A report is whole without it: this only adds a button at every place that names a volume.
import { ofBase64, unzipped } from './bytes'
import { button, h, refill, setText } from './dom'
import { Drawing, type Triple } from './drawing'
import { listen, type Shortcut } from './keys'
import { Look, OPACITY } from './look'
import { Bytes, sameGrid, toScreen } from './nifti'
import style from './style.css?inline'
import { canShow, placeText, read, Viewer, type Loaded } from './viewer'
import { take, type Layer, type Told } from './volumes'
import { presets } from './windows'

const HELP = 'Arrows and page keys move, wheel: slices, control and wheel, + and −: closer, right button held: window, l: layout, esc: close'

class Report {
  private readonly host = h('div', {})
  private readonly dialog = h('dialog', { 'aria-label': 'Slices' })
  private readonly root = this.host.attachShadow({ mode: 'open' })
  private readonly canvas = h('canvas', { tabindex: 0, 'aria-label': 'Scan: arrows and page keys move the crosshair' })
  private readonly frame: HTMLElement
  private readonly title = h('h2', {})
  private readonly place = h('div', { class: 'place', 'aria-live': 'off' })
  private readonly busy = h('div', { class: 'waiting', role: 'status' })
  private readonly wrong = h('div', { class: 'wrong bad', role: 'alert', hidden: true })
  private readonly layers = h('select', { 'aria-label': 'Labels', change: () => void this.attempt(() => this.showLayer()) })
  private readonly layerRow: HTMLElement
  private readonly list = h('ul', { class: 'structures' })
  private readonly look: Look
  private readonly hidden = new Set<string>()
  private viewer: Viewer | null = null
  private loaded: Loaded | null = null
  private told: Told | null = null
  private drawing: Drawing | null = null
  private bytes = new Bytes([])
  private at = -1
  private asked = 0
  /** The layer last chosen by its name, kept from case to case. */
  private wanted = ''

  constructor(private readonly addresses: string[]) {
    this.look = new Look({
      window: (low, high) => this.viewer?.setWindow(low, high),
      layout: (layout) => this.viewer?.setLayout(layout),
      opacity: (opacity) => this.viewer?.setOpacity(opacity),
    })
    this.frame = h('div', { class: 'frame' }, this.canvas, this.busy, this.wrong, this.place)
    this.layerRow = h('label', { class: 'quiet row' }, 'Labels ', this.layers)
    const several = addresses.length > 1
    const head = h('div', { class: 'bar' }, button('‹ Report', () => this.dialog.close(), { title: 'Back to the report (esc)' }), this.title,
      h('span', { class: 'row right' }, this.look.windows, this.look.layout,
        several && button('Previous', () => this.step(-1), { title: 'The case before (k)' }),
        several && button('Next', () => this.step(1), { title: 'The next case (j)' })))
    const side = h('aside', { class: 'side' },
      h('section', { 'aria-label': 'Structures' }, h('h3', {}, 'Structures'), this.layerRow, this.list, this.look.opacity),
      h('p', { class: 'quiet small-text' }, HELP),
      h('p', { class: 'quiet small-text' }, 'Fewer voxels and grey values than the files have.'))
    this.root.append(h('style', {}, style), h('section', { class: 'case report' },
      h('div', { class: 'stage' }, head, this.frame), side))
    this.dialog.append(this.host)
    this.dialog.style.cssText = 'padding:0;border:0;width:100vw;height:100vh;max-width:none;max-height:none;overflow:hidden'
    this.host.style.cssText = 'display:block;height:100%;background:#090b0e;color:#dbe2ea'
    document.body.append(this.dialog)
    listen(() => this.shortcuts(), this.root, () => !this.dialog.open)
  }

  /** Show the volume of a number. */
  async show(at: number): Promise<void> {
    this.at = at
    const asked = ++this.asked
    if (!this.dialog.open) this.dialog.showModal()
    this.canvas.focus()
    await this.attempt(async () => {
      setText(this.busy, 'Loading …')
      this.busy.hidden = false
      const told = await take(this.addresses[at]!)
      const loaded = await read(await unzipped(ofBase64(told.scan)), 'scan.nii', told.window)
      if (asked !== this.asked) return // another one was asked for meanwhile
      this.told = told
      this.loaded = loaded
      await this.present(loaded, told)
    })
    if (asked === this.asked) this.busy.hidden = true
  }

  private async present(loaded: Loaded, told: Told): Promise<void> {
    setText(this.title, told.name)
    refill(this.layers, ...told.layers.map(({ name }) => h('option', { value: name }, name)))
    this.layerRow.hidden = told.layers.length < 2
    if (told.layers.some(({ name }) => name === this.wanted)) this.layers.value = this.wanted
    const viewer = await this.attached()
    viewer.show(loaded, false)
    const { voxels, scale } = viewer.values()
    this.look.offer(presets(told.modality, told.window, voxels, scale))
    this.look.windows.hidden = told.modality === null // nothing but labels: no greys to choose
    await this.showLayer()
    this.goToLargest()
  }

  private async attached(): Promise<Viewer> {
    if (this.viewer) return this.viewer
    const viewer = await Viewer.attach(this.canvas)
    viewer.located = (location) => {
      const value = this.bytes.valueOf(location.byte)
      setText(this.place, placeText(location, this.layer?.structures.find((one) => one.value === value)?.name))
    }
    viewer.windowed = (low, high) => this.look.showOwn(low, high)
    viewer.setOpacity(OPACITY)
    viewer.tame(this.frame)
    this.viewer = viewer
    return viewer
  }

  private get layer(): Layer | undefined {
    return this.told?.layers[Math.max(0, this.layers.selectedIndex)]
  }

  /** Put the chosen label map on the scan. */
  private async showLayer(): Promise<void> {
    const { layer, loaded, viewer } = this
    if (!layer || !loaded || !viewer) return
    this.wanted = layer.name
    const labels = await read(await unzipped(ofBase64(layer.labels)), 'labels.nii')
    if (layer !== this.layer) return
    if (!sameGrid(loaded.grid, labels.grid)) throw new Error('The labels lie on another grid than the scan.')
    this.bytes = new Bytes(layer.structures.map(({ value }) => value))
    const voxels = toScreen(labels.image.img!, labels.order, (value) => this.bytes.of(value))
    this.drawing = new Drawing(loaded.grid.dims, loaded.spacing, voxels)
    viewer.setDrawing(this.drawing)
    this.recolour()
  }

  private recolour(): void {
    const structures = this.layer?.structures ?? []
    const hidden = new Set(structures.filter(({ name }) => this.hidden.has(name)).map(({ value }) => value))
    this.viewer?.setColours(structures, this.bytes, hidden)
    const focus = (this.root.activeElement as HTMLElement | null)?.dataset['key']
    const found = this.drawing?.count() ?? new Map<number, number>()
    const named = structures.filter(({ name }) => name) // masks of a store have colours alone
    refill(this.list, ...named.map(({ name, value, colour }) => this.item(name, value, colour, found.has(this.bytes.of(value)))))
    if (focus) this.list.querySelector<HTMLElement>(`[data-key="${CSS.escape(focus)}"]`)?.focus()
  }

  private item(name: string, value: number, colour: string, there: boolean): HTMLElement {
    const seen = !this.hidden.has(name)
    const swatch = h('span', { class: 'swatch' })
    swatch.style.background = colour
    return h('li', {}, swatch,
      button(name, () => this.goTo(value), { class: 'choice', title: there ? 'Go there' : 'Not in this scan', disabled: !there, 'data-key': `n${value}` }),
      button(seen ? '●' : '○', () => this.toggle(name), {
        class: 'icon', 'aria-pressed': String(seen), 'aria-label': `Show ${name}`, title: seen ? 'Hide' : 'Show', 'data-key': `s${value}`,
      }))
  }

  private toggle(name: string): void {
    if (!this.hidden.delete(name)) this.hidden.add(name)
    this.recolour()
  }

  private goTo(value: number): void {
    const middle = this.drawing?.middle(this.bytes.of(value))
    if (middle) this.viewer?.goTo(middle)
  }

  private goToLargest(): void {
    const largest = [...(this.drawing?.count() ?? [])].sort((a, b) => b[1] - a[1])[0]
    if (largest) this.goTo(this.bytes.valueOf(largest[0]))
  }

  private step(by: 1 | -1): void {
    const at = this.at + by
    if (at >= 0 && at < this.addresses.length) void this.show(at)
  }

  private shortcuts(): Shortcut[] {
    const move = (key: string, by: Triple): Shortcut => ({ key, told: '', does: () => this.viewer?.step(by) })
    const zoom = (key: string, factor: number): Shortcut => ({ key, told: '', does: () => this.viewer?.zoom(factor) })
    return [
      move('ArrowLeft', [1, 0, 0]), move('ArrowRight', [-1, 0, 0]), move('ArrowUp', [0, 1, 0]), move('ArrowDown', [0, -1, 0]),
      move('PageUp', [0, 0, 1]), move('PageDown', [0, 0, -1]), zoom('+', 1.25), zoom('-', 0.8), zoom('0', 0),
      { key: 'l', told: '', does: () => this.look.nextLayout() },
      { key: 'j', told: '', does: () => this.step(1) }, { key: 'k', told: '', does: () => this.step(-1) },
    ]
  }

  private async attempt(action: () => Promise<void>): Promise<void> {
    this.wrong.hidden = true
    try {
      await action()
    } catch (error) {
      setText(this.wrong, (error as Error).message)
      this.wrong.hidden = false
    }
  }
}

/** A button at every place of the page that names a volume. */
function begin(): void {
  const places = [...document.querySelectorAll<HTMLElement>('[data-volume]')]
  if (places.length === 0 || !canShow()) return
  const report = new Report(places.map((place) => place.dataset['volume']!))
  for (const [at, place] of places.entries()) {
    place.append(button('Look through the slices', () => void report.show(at), { 'aria-label': `Look through the slices of ${place.dataset['name'] ?? ''}` }))
  }
}

begin()
