// The view of one scan: picture, tools, structures, and what can be done with it.
import { api, caseAddress } from './api'
import { Brush, nextSize, type Tool } from './brush'
import { OpenCase } from './case'
import { attempt, choose, say } from './dialog'
import { button, h, refill, setText } from './dom'
import type { Triple } from './drawing'
import type { Shortcut } from './keys'
import { OPACITY } from './look'
import { spacingText } from './order'
import type { State } from './state'
import { Structures } from './structures'
import { agreementBar, expectedBar, stateMark } from './table'
import { Toolbar } from './toolbar'
import { placeText, Viewer, type Location } from './viewer'
import { presets } from './windows'

export interface Ways {
  back: () => void
  next: (step: 1 | -1) => void
}

export class CaseView {
  readonly element: HTMLElement
  private readonly state: State
  private readonly ways: Ways
  private readonly canvas = h('canvas', { id: 'picture', tabindex: 0, 'aria-label': 'Scan: arrows and page keys move the crosshair' })
  private readonly ring = h('div', { class: 'ring', hidden: true })
  private readonly busy = h('div', { class: 'waiting', role: 'status' })
  private readonly wrong = h('div', { class: 'wrong bad', role: 'alert', hidden: true })
  private readonly place = h('div', { class: 'place', 'aria-live': 'off' })
  private readonly title = h('h2', {})
  private readonly frame: HTMLElement
  private readonly facts = h('section', { 'aria-label': 'This scan' })
  private readonly save = button('Save', () => void this.saveNow(), { title: 'Keep the drawing (s)' })
  private readonly file: HTMLInputElement
  private readonly structures: Structures
  private readonly toolbar: Toolbar
  private viewer: Viewer | null = null
  private brush: Brush | null = null
  private open: OpenCase | null = null
  private told = ''

  constructor(state: State, ways: Ways) {
    this.state = state
    this.ways = ways
    this.structures = new Structures(state)
    this.toolbar = new Toolbar({
      tool: (tool) => this.setTool(tool),
      hand: (patch) => this.setHand(patch),
      between: () => this.fillBetween(),
      undo: () => this.open?.undo(),
      clear: () => this.clear(),
      window: (low, high) => this.viewer?.setWindow(low, high),
      layout: (layout) => this.viewer?.setLayout(layout),
      opacity: (opacity) => this.viewer?.setOpacity(opacity),
    })
    this.file = h('input', { type: 'file', id: 'label-file', class: 'unseen', 'aria-label': 'Label file', accept: '.nii,.gz', change: () => void this.loadFile() })
    this.frame = h('div', { class: 'frame' }, this.canvas, this.ring, this.busy, this.wrong, this.place)
    this.structures.element.append(this.toolbar.look.opacity)
    this.element = this.layout()
    this.structures.changed = () => this.recolour()
    this.structures.find = (value) => this.goTo(value)
    state.watch(() => {
      this.renderFacts()
      if (!this.brush?.busy) void attempt(async () => this.open?.keepUp())
    })
  }

  get id(): string {
    return this.open?.id ?? ''
  }

  get unsaved(): boolean {
    return this.open?.unsaved ?? false
  }

  /** Show a scan. Its labels come last; until then nothing can be drawn. */
  async show(id: string): Promise<void> {
    // The first time the server reads while WebGL begins.
    const asked = this.viewer ? null : api.image(id, 'small')
    asked?.catch(() => undefined) // it is told where it is waited for
    if (!(await this.prepare())) return
    this.open?.close()
    const open = new OpenCase(id, this.viewer!, this.state, () => open === this.open && this.render(), asked)
    this.open = open
    this.brush!.drawing = null
    this.structures.volumes = new Map()
    setText(this.title, id)
    this.render()
    await open.load()
    if (open !== this.open || open.error) return
    this.offerWindows()
    this.recolour()
    this.goToLargest()
  }

  /** Ask what becomes of unsaved strokes. Returns whether one may go on. */
  async leave(): Promise<boolean> {
    if (!this.open?.unsaved) return true
    const answer = await choose('Unsaved drawing', `The drawing in ${this.open.id} has not been saved.`, {
      save: 'Save it', leave: 'Leave it unsaved', stay: 'Stay here',
    })
    if (answer === 'save') return this.saveNow()
    return answer === 'leave'
  }

  hide(): void {
    this.open?.close()
    this.open = null
    this.brush?.hideRing()
  }

  shortcuts(): [string, Shortcut[]][] {
    const move = (key: string, by: Triple): Shortcut => ({ key, told: '', does: () => this.viewer?.step(by) })
    const tool = (key: string, name: Tool, told: string): Shortcut => ({ key, told, does: () => this.canDraw && this.setTool(name) })
    const size = (way: 1 | -1): void => this.brush ? this.setHand({ size: nextSize(this.brush.hand.size, way) }) : undefined
    return [
      ['Drawing', [
        { key: 'v', told: 'look: move the crosshair', does: () => this.setTool('look') },
        tool('b', 'brush', 'brush'), tool('e', 'erase', 'eraser'), tool('f', 'fill', 'fill an outline'), tool('g', 'grow', 'grow by brightness'),
        { key: '[', told: 'smaller brush', does: () => size(-1) },
        { key: ']', told: 'larger brush', does: () => size(1) },
        { key: 'i', told: 'fill between drawn slices', does: () => this.fillBetween() },
        { key: 'ctrl+z', shown: 'ctrl z', told: 'undo', does: () => this.open?.undo() },
        { key: 's', told: 'save', does: () => void this.saveNow() },
        { key: 'ctrl+s', told: '', does: () => void this.saveNow() },
        ...[1, 2, 3, 4, 5, 6, 7, 8, 9].map((n) => ({ key: String(n), told: n === 1 ? 'choose a structure' : '', shown: '1 … 9', does: () => this.structures.chooseNth(n) })),
        { key: 'n', told: 'name a new structure', does: () => this.structures.askName() },
      ]],
      ['Looking', [
        { key: 'j', told: 'next scan', does: () => this.ways.next(1) },
        { key: 'k', told: 'scan before', does: () => this.ways.next(-1) },
        { key: 'Escape', shown: 'esc', told: 'back to the table', does: () => this.escape() },
        { key: 'ArrowLeft', shown: '← → ↑ ↓', told: 'move the crosshair', does: () => this.viewer?.step([1, 0, 0]) },
        move('ArrowRight', [-1, 0, 0]), move('ArrowUp', [0, 1, 0]), move('ArrowDown', [0, -1, 0]),
        { key: 'PageUp', shown: 'page ↑ ↓', told: 'move it up and down', does: () => this.viewer?.step([0, 0, 1]) },
        move('PageDown', [0, 0, -1]),
        { key: '+', told: 'closer', does: () => this.viewer?.zoom(1.25) },
        { key: '-', told: 'farther', does: () => this.viewer?.zoom(0.8) },
        { key: '0', told: 'the whole scan', does: () => this.viewer?.zoom(0) },
        { key: 'l', told: 'next layout', does: () => this.toolbar.look.nextLayout() },
      ]],
    ]
  }

  private layout(): HTMLElement {
    const head = h('div', { class: 'bar' },
      button('‹ Cohort', () => this.ways.back(), { title: 'Back to the table (esc)' }), this.title,
      h('span', { class: 'row right' }, this.toolbar.look.layout,
        button('Previous', () => this.ways.next(-1), { title: 'The scan before in the table (k)' }),
        button('Next', () => this.ways.next(1), { title: 'The next scan in the table (j)' })))
    const drawing = h('section', { 'aria-label': 'Drawing' }, h('h3', {}, 'Drawing'),
      this.toolbar.editing,
      h('div', { class: 'row' }, this.save, button('Load a label file', () => this.file.click()), this.file))
    return h('section', { class: 'case', 'aria-label': 'Scan' },
      h('div', { class: 'stage' }, head, this.toolbar.element, this.frame),
      h('aside', { class: 'side' }, this.structures.element, drawing, this.facts))
  }

  private async prepare(): Promise<boolean> {
    if (this.viewer) return true
    try {
      this.viewer = await Viewer.attach(this.canvas)
    } catch (error) {
      setText(this.wrong, (error as Error).message)
      this.wrong.hidden = false
      return false
    }
    this.viewer.located = (location) => this.showPlace(location)
    this.viewer.windowed = (low, high) => this.toolbar.look.showOwn(low, high)
    this.viewer.setOpacity(OPACITY)
    this.brush = new Brush(this.viewer, this.frame, this.canvas, this.ring)
    this.brush.changed = () => this.open?.edited()
    this.brush.refused = (why) => say(why, 'bad')
    this.viewer.tame(this.frame)
    return true
  }

  private get canDraw(): boolean {
    return this.open?.drawing !== null && this.open !== null && !this.open.error
  }

  private setTool(tool: Tool): void {
    if (tool !== 'look' && this.structures.active === 0) {
      say('Add a structure first: it says what you draw.', 'bad')
      this.structures.askName()
      return
    }
    this.setHand({ tool })
  }

  private setHand(patch: Partial<Brush['hand']>): void {
    if (!this.brush) return
    this.brush.hand = { ...this.brush.hand, ...patch }
    this.frame.dataset['tool'] = this.brush.hand.tool
    this.brush.hideRing()
    this.render()
  }

  private recolour(): void {
    const { open, viewer, brush } = this
    if (!open || !viewer || !brush) return
    open.renewPalette()
    brush.hand.byte = this.structures.active ? open.palette.of(this.structures.active) : 0
    viewer.setColours(this.structures.all, open.palette, this.structures.hidden)
    this.render()
  }

  private offerWindows(): void {
    const { viewer, open } = this
    if (!viewer || !open) return
    const { voxels, scale } = viewer.values()
    const offered = presets(open.scan?.modality ?? null, open.usualWindow, voxels, scale)
    this.toolbar.look.offer(offered)
    const spread = Math.abs(offered[0]!.high - offered[0]!.low) / Math.abs(scale(1) - scale(0) || 1)
    this.brush!.hand.tolerance = spread * 0.08
    this.toolbar.setSpread(spread)
    this.render()
  }

  private fillBetween(): void {
    const { open, brush } = this
    if (!open?.drawing || !brush || brush.hand.byte === 0) return
    open.drawing.begin()
    open.drawing.between(brush.lastAxis, brush.hand.byte)
    if (open.drawing.end()) {
      this.viewer?.upload(null)
      open.edited()
    } else say('Nothing to fill: draw in two slices of one plane with some between them.', 'bad')
  }

  private clear(): void {
    const { open, brush } = this
    if (!open?.drawing || !brush || brush.hand.byte === 0) return
    open.drawing.begin()
    open.drawing.clear(brush.hand.byte)
    if (!open.drawing.end()) return
    this.viewer?.upload(null)
    open.edited()
  }

  private escape(): void {
    const focused = document.activeElement
    if (focused instanceof HTMLInputElement) focused.blur()
    else if (this.brush && this.brush.hand.tool !== 'look') this.setTool('look')
    else this.ways.back()
  }

  private async saveNow(): Promise<boolean> {
    const { open } = this
    if (!open?.drawing) return false
    const saved = await attempt(() => open.save())
    if (saved) say('Saved.')
    return saved
  }

  private async loadFile(): Promise<void> {
    const file = this.file.files?.[0]
    this.file.value = ''
    if (!file || !this.open?.drawing) return
    await attempt(async () => {
      const unknown = await this.open!.loadFile(file, this.structures.active)
      if (unknown.length === 0) return say(`${file.name} is in the drawing. Save to keep it.`)
      const added = unknown.map((value) => ({ name: `label ${value}`, value }))
      const answer = await choose('New structures', `${file.name} holds values without a structure: ${unknown.join(', ')}.`, {
        add: 'Add them as structures', stop: 'Do not load it',
      })
      if (answer !== 'add' || !(await this.structures.set([...this.structures.all, ...added]))) return
      this.recolour()
      await this.open!.loadFile(file, this.structures.active)
      this.render()
    })
  }

  private async useAsReference(use: boolean): Promise<void> {
    const { open } = this
    if (!open) return
    const done = await attempt(async () => {
      if (use && (open.unsaved || open.source === 'found')) await open.save()
      await api.setReference(open.id, use)
    })
    await this.state.refresh()
    if (done) say(use ? `${open.id} is a reference now.` : `${open.id} is no longer a reference.`)
  }

  private async correct(): Promise<void> {
    const { open } = this
    if (!open) return
    if (open.source !== 'found') {
      if (open.unsaved && !(await this.leave())) return
      if (!(await attempt(() => open.showLabels('found')))) return
    }
    this.setTool('brush')
    this.recolour()
  }

  private async discard(): Promise<void> {
    const { open } = this
    if (!open) return
    const answer = await choose('Discard the drawing', `The drawing in ${open.id} will be gone for good.`, { keep: 'Keep it', discard: 'Discard it' })
    if (answer === 'discard') await attempt(() => open.discard())
  }

  private async download(name: string, suffix: string): Promise<void> {
    await attempt(async () => {
      const blob = await api.file(caseAddress(this.id, name))
      const link = h('a', { href: URL.createObjectURL(blob), download: `${this.id}${suffix}` })
      link.click()
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
    })
  }

  private goToLargest(): void {
    const volumes = [...this.structures.volumes].sort((a, b) => b[1] - a[1])
    if (volumes[0]) this.goTo(volumes[0][0])
  }

  private goTo(value: number): void {
    const middle = this.open?.drawing?.middle(this.open.palette.of(value))
    if (middle) this.viewer?.goTo(middle)
  }

  private showPlace(location: Location): void {
    const known = this.open?.palette.valueOf(location.byte)
    setText(this.place, placeText(location, this.structures.all.find((other) => other.value === known)?.name))
  }

  private render(): void {
    const { open, brush } = this
    if (!open || !brush) return
    brush.drawing = open.drawing
    this.toolbar.show({ hand: brush.hand, canDraw: this.canDraw, canUndo: open.drawing?.canUndo ?? false })
    this.save.disabled = !open.unsaved && open.source !== 'found'
    this.save.className = open.unsaved ? 'primary' : ''
    setText(this.busy, open.loading)
    this.busy.hidden = open.loading === ''
    setText(this.wrong, open.error)
    this.wrong.hidden = open.error === ''
    this.countVolumes()
    this.renderFacts()
  }

  private countVolumes(): void {
    const { open } = this
    if (!open?.drawing) return
    const [x, y, z] = open.drawing.spacing
    const ml = (x * y * z) / 1000
    const counts = [...open.drawing.count()].map(([byte, n]): [number, number] => [open.palette.valueOf(byte), n * ml])
    this.structures.volumes = new Map(counts)
    this.structures.render()
  }

  private renderFacts(): void {
    const { open } = this
    const scan = open?.scan
    if (!open || !scan) return
    const told = JSON.stringify([scan, open.source, open.unsaved, this.canDraw])
    if (told === this.told) return
    this.told = told
    const shown = { drawn: 'your drawing', found: 'the result of the newest round', none: 'no labels yet' }[open.source]
    const uses = scan.reference
    const labelled = open.source !== 'none'
    refill(this.facts, h('h3', {}, 'This scan'),
      h('dl', { class: 'facts' },
        ...pair('State', stateMark(scan)), ...pair('Shown', shown),
        ...pair('Modality', scan.modality ?? '–'), ...pair('Spacing (mm)', spacingText(scan.spacing_mm) || '–'),
        ...pair('Voxels', scan.shape?.join(' × ') ?? '–'), ...pair('Expected Dice', expectedBar(scan.expected_dice)), ...pair('Agreement', agreementBar(scan.agreement))),
      ...scan.notes.map((note) => h('p', { class: 'odd' }, note)),
      scan.error ? h('p', { class: 'bad' }, scan.error) : null,
      h('div', { class: 'stack' },
        scan.segmented ? button('Correct this result', () => void this.correct(), { disabled: !this.canDraw }) : null,
        scan.drawn && scan.segmented && open.source === 'found' && !open.unsaved
          ? button('Show my drawing', () => void attempt(() => open.showLabels('drawn'))) : null,
        scan.drawn && !uses ? button('Discard my drawing', () => void this.discard()) : null,
        uses
          ? button('No longer a reference', () => void this.useAsReference(false))
          : button(scan.segmented ? 'Use as another reference' : 'Use as reference', () => void this.useAsReference(true), {
            disabled: !labelled, title: labelled ? null : 'Draw something first',
          }),
        scan.segmented ? button('Download the result (NIfTI)', () => void this.download('result.nii.gz', '.nii.gz')) : null,
        scan.segmented ? button('Download the result (DICOM-SEG)', () => void this.download('result.dcm', '.dcm')) : null))
  }
}

function pair(name: string, value: string | HTMLElement): HTMLElement[] {
  return [h('dt', {}, name), h('dd', {}, value)]
}
