// One scan: loading it, its labels and its drawing, saving, and what can be done with the case.
import { api, ApiError, type Case, type Labels, type Structure } from './api'
import { unzipped, zipped } from './bytes'
import { Drawing } from './drawing'
import { Bytes, encode, sameGrid, toScreen } from './nifti'
import type { State } from './state'
import type { Loaded, Viewer } from './viewer'
import { read } from './viewer'

/** What of a case is on the screen. */
export type Source = 'drawn' | 'found' | 'none'

type Asked = ReturnType<typeof api.image> | null

/** A scan on the screen with its drawing. Says by `changed` when something about it has changed. */
export class OpenCase {
  readonly id: string
  drawing: Drawing | null = null
  source: Source = 'none'
  usualWindow: [number, number] = [NaN, NaN]
  loading = 'Loading …'
  error = ''
  private revision = ''
  private readonly aborted = new AbortController()
  private readonly viewer: Viewer
  private readonly state: State
  private readonly changed: () => void
  private asked: Asked
  private bytes: Bytes
  private loaded: Loaded | null = null

  /** `asked`: the small volume, where it was asked for already. */
  constructor(id: string, viewer: Viewer, state: State, changed: () => void, asked: Asked = null) {
    this.id = id
    this.viewer = viewer
    this.state = state
    this.changed = changed
    this.asked = asked
    this.bytes = new Bytes(this.values)
  }

  get scan(): Case | undefined {
    return this.state.find(this.id)
  }

  get palette(): Bytes {
    return this.bytes
  }

  get unsaved(): boolean {
    return this.drawing?.unsaved ?? false
  }

  private get structures(): Structure[] {
    return this.state.known.project?.structures ?? []
  }

  private get values(): number[] {
    return this.structures.map((structure) => structure.value)
  }

  /** Show the small volume, then the whole one in its place, then the labels. */
  async load(): Promise<void> {
    try {
      const scan = this.scan // what has no shape could not be read at all
      if (scan?.error && !scan.shape) throw new Error(scan.error)
      await this.loadLevel('small', false)
      this.loading = 'Loading the whole scan …'
      this.changed()
      this.loaded = await this.loadLevel('full', true)
      this.loading = 'Loading the labels …'
      this.changed()
      await this.showLabels('start')
      this.loading = ''
    } catch (error) {
      if (this.aborted.signal.aborted) return
      this.loading = ''
      this.error = (error as Error).message
    }
    this.changed()
  }

  close(): void {
    this.aborted.abort()
    this.viewer.setDrawing(null)
  }

  /** Put labels of the server on the screen; an empty drawing where there are none. */
  async showLabels(which: Labels): Promise<void> {
    const { loaded } = this
    if (!loaded) return
    this.revision = this.scan?.revision ?? ''
    const some = this.scan?.drawn || this.scan?.segmented // else it need not be asked for
    const file = some ? await api.labels(this.id, which, this.aborted.signal) : null
    const { dims } = loaded.grid
    if (file === null) this.setDrawing(new Drawing(dims, loaded.spacing), 'none')
    else {
      const labels = await read(file, 'labels.nii')
      this.stopIfClosed()
      if (!sameGrid(loaded.grid, labels.grid)) throw new Error('The labels lie on another grid than the scan.')
      const voxels = toScreen(labels.image.img!, labels.order, (value) => this.bytes.of(value))
      this.setDrawing(new Drawing(dims, loaded.spacing, voxels), this.sourceOf(which))
    }
  }

  /** Read a label file of the user into the drawing. Returns the values that no structure has. */
  async loadFile(file: File, active: number): Promise<number[]> {
    const { loaded, drawing } = this
    if (!loaded || !drawing) return []
    const labels = await readFile(file)
    if (!sameGrid(loaded.grid, labels.grid)) {
      const [ours, theirs] = [loaded.grid.dims, labels.grid.dims].map((dims) => dims.join(' × '))
      throw new Error(
        ours === theirs
          ? `${file.name} lies elsewhere in the world than this scan.`
          : `${file.name} has ${theirs} voxels, and this scan ${ours}.`,
      )
    }
    const values = valuesOf(labels.image.img!)
    if (values.length === 0) throw new Error(`${file.name} is empty: no voxel is labelled.`)
    // One value only is a mask: it becomes the structure that is being drawn.
    const mask = values.length === 1 && active !== 0
    const unknown = mask ? [] : values.filter((value) => !this.values.includes(value))
    if (unknown.length > 0) return unknown
    const voxels = toScreen(labels.image.img!, labels.order, (value) => this.bytes.of(mask ? active : value))
    drawing.begin()
    for (let i = 0; i < voxels.length; i++) if (voxels[i]) drawing.set(i, voxels[i]!)
    if (drawing.end()) this.edited()
    this.viewer.upload(null)
    return []
  }

  /** Send the drawing to the server. */
  async save(): Promise<void> {
    const { loaded, drawing } = this
    if (!loaded || !drawing) return
    if (drawing.empty) {
      if (this.scan?.drawn) await api.deleteLabels(this.id)
      this.source = 'none'
    } else {
      const bytes = encode(loaded.header, drawing.voxels, loaded.order, (byte) => this.bytes.valueOf(byte))
      await api.saveLabels(this.id, await zipped(bytes))
      this.source = 'drawn'
    }
    drawing.markSaved()
    this.changed()
    await this.state.refresh()
  }

  /** Say that the drawing has changed: what was a result is now a drawing of its own. */
  edited(): void {
    if (this.source !== 'drawn') this.source = 'drawn'
    this.changed()
  }

  undo(): void {
    const box = this.drawing?.undo()
    if (!box) return
    this.viewer.upload(box)
    this.changed()
  }

  /** Show a newer result where one has come, unless the user's own drawing is on the screen. */
  async keepUp(): Promise<void> {
    const scan = this.scan
    const mayChange = this.drawing && !this.unsaved && this.source !== 'drawn'
    if (!scan || !mayChange || scan.revision === this.revision) return
    await this.showLabels('start')
  }

  /** Throw the drawing of the user away, here and on the server. */
  async discard(): Promise<void> {
    await api.deleteLabels(this.id)
    await this.state.refresh()
    await this.showLabels('start')
  }

  /** Structures have come or gone: give new values their bytes. */
  renewPalette(): void {
    for (const value of this.values) this.bytes.of(value)
  }

  private setDrawing(drawing: Drawing, source: Source): void {
    this.drawing = drawing
    this.source = source
    this.viewer.setDrawing(drawing)
    this.changed()
  }

  private sourceOf(which: Labels): Source {
    if (which !== 'start') return which
    return this.scan?.drawn ? 'drawn' : 'found'
  }

  private async loadLevel(level: 'small' | 'full', keep: boolean): Promise<Loaded> {
    const asked = level === 'small' ? this.asked : null
    this.asked = null // it is large
    const { bytes, window } = await (asked ?? api.image(this.id, level, this.aborted.signal))
    const loaded = await read(bytes, 'scan.nii', window)
    this.stopIfClosed()
    this.usualWindow = window
    this.viewer.show(loaded, keep)
    return loaded
  }

  private stopIfClosed(): void {
    this.aborted.signal.throwIfAborted()
  }
}

async function readFile(file: File): Promise<Loaded> {
  try {
    return await read(await unzipped(file), file.name)
  } catch {
    throw new ApiError(0, `${file.name} could not be read. A label map is a .nii or .nii.gz file.`)
  }
}

function valuesOf(voxels: ArrayLike<number>): number[] {
  const values = new Set<number>()
  for (let i = 0; i < voxels.length && values.size < 256; i++) if (voxels[i]) values.add(voxels[i]!)
  return [...values].sort((a, b) => a - b)
}
