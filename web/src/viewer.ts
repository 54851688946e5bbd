// The picture: NiiVue, told what to show. Knows voxels and colours, no case and no server.
import { DRAG_MODE, Niivue, NVImage, SLICE_TYPE } from '@niivue/niivue'
import type { Structure } from './api'
import type { Box, Drawing, Triple } from './drawing'
import type { Bytes, Order } from './nifti'

export type Layout = 'axial' | 'coronal' | 'sagittal' | 'equal' | '3d'

type Tile = { sliceType: SLICE_TYPE; position: [number, number, number, number] }

/** One view large on the left, the others in a column beside it. Fractions of the frame. */
function large(first: SLICE_TYPE): Tile[] {
  const all = [SLICE_TYPE.AXIAL, SLICE_TYPE.CORONAL, SLICE_TYPE.SAGITTAL, SLICE_TYPE.RENDER]
  const others = all.filter((type) => type !== first)
  return [
    { sliceType: first, position: [0.004, 0, 0.656, 1] },
    ...others.map((sliceType, i): Tile => ({ sliceType, position: [0.665, i * 0.335, 0.335, 0.33] })),
  ]
}

const LAYOUTS: Record<Layout, Tile[]> = {
  axial: large(SLICE_TYPE.AXIAL),
  coronal: large(SLICE_TYPE.CORONAL),
  sagittal: large(SLICE_TYPE.SAGITTAL),
  equal: [
    { sliceType: SLICE_TYPE.AXIAL, position: [0, 0, 0.497, 0.497] },
    { sliceType: SLICE_TYPE.CORONAL, position: [0.503, 0, 0.497, 0.497] },
    { sliceType: SLICE_TYPE.SAGITTAL, position: [0, 0.503, 0.497, 0.497] },
    { sliceType: SLICE_TYPE.RENDER, position: [0.503, 0.503, 0.497, 0.497] },
  ],
  '3d': [{ sliceType: SLICE_TYPE.RENDER, position: [0, 0, 1, 1] }],
}
const CROSSHAIR = 0.18 // per cent of the scan's width
const DRAWING_TEXTURE = 7 // the unit that NiiVue reads drawings from
const HEADER_BYTES = 352

/** A volume as NiiVue read it, with the order of its voxels. */
export interface Loaded {
  image: NVImage
  header: ArrayBuffer
  order: Order
  grid: { dims: Triple; affine: number[] }
  spacing: Triple
  /** Its values in the order of the screen, made when they are needed. */
  turned?: ArrayLike<number>
}

/** Where a pointer is: a voxel, and the axis that its plane is across. */
export interface Place {
  voxel: Triple
  axis: number
  /** Pixels of the page for a millimetre in that plane. */
  scale: number
}

export interface Location {
  mm: Triple
  voxel: Triple
  value: number
  byte: number
}

/** Read the bytes of a volume. Throws where they are none. */
export async function read(bytes: ArrayBuffer, name: string, window: [number, number] = [NaN, NaN]): Promise<Loaded> {
  const [low, high] = window
  const image = await NVImage.new(
    bytes, name, 'gray', 1, null, low, high, true, 0.02, false, false, '', 0, 0, NaN, NaN, true, null, 0, null,
  )
  if (!image.dimsRAS || !image.img2RASstart || !image.img2RASstep || !image.matRAS || !image.pixDimsRAS) {
    throw new Error('The file could not be read as a volume.')
  }
  const dims = image.dimsRAS.slice(1, 4) as Triple
  return {
    image,
    header: bytes.slice(0, HEADER_BYTES),
    order: { dims, start: image.img2RASstart as Triple, step: image.img2RASstep as Triple },
    grid: { dims, affine: [...image.matRAS] },
    spacing: image.pixDimsRAS.slice(1, 4).map(Math.abs) as Triple,
  }
}

/** Whether this browser can draw volumes. */
export function canShow(): boolean {
  return document.createElement('canvas').getContext('webgl2') !== null
}

/** Where the crosshair is, in words: from the middle of the world, and what is there. */
export function placeText({ mm, value }: Location, structure = ''): string {
  const sides = [mm[0] < 0 ? 'L' : 'R', mm[1] < 0 ? 'P' : 'A', mm[2] < 0 ? 'I' : 'S']
  const where = mm.map((at, i) => `${sides[i]} ${Math.abs(at).toFixed(0)}`).join('  ')
  return [`${where} mm`, `value ${Number(value.toPrecision(4))}`, structure].filter(Boolean).join('   ')
}

export class Viewer {
  private readonly nv: Niivue
  private readonly canvas: HTMLCanvasElement
  private drawing: Drawing | null = null
  private frame = 0
  shown: Loaded | null = null
  located: (location: Location) => void = () => undefined
  /** Called where the hand has changed the window on the picture. */
  windowed: (low: number, high: number) => void = () => undefined

  private constructor(nv: Niivue, canvas: HTMLCanvasElement) {
    this.nv = nv
    this.canvas = canvas
    nv.onLocationChange = () => this.locate()
    nv.onIntensityChange = (image) => this.windowed(image.cal_min ?? NaN, image.cal_max ?? NaN)
  }

  /** Throws where the browser has no WebGL 2. */
  static async attach(canvas: HTMLCanvasElement): Promise<Viewer> {
    if (!canShow()) {
      throw new Error('This browser cannot draw in 3D (no WebGL 2), so scans cannot be shown.')
    }
    const nv = new Niivue({
      logLevel: 'error',
      backColor: [0.035, 0.043, 0.055, 1],
      crosshairColor: [0.45, 0.72, 1, 0.75],
      crosshairWidth: CROSSHAIR,
      crosshairWidthUnit: 'percent',
      crosshairGap: 6,
      fontColor: [0.62, 0.68, 0.76, 1],
      fontSizeScaling: 0.3,
      isRadiologicalConvention: true,
      dragMode: DRAG_MODE.windowing,
      dragAndDropEnabled: false,
      isCornerOrientationText: true,
      show3Dcrosshair: false,
      isResizeCanvas: true,
      loadingText: '',
    })
    await nv.attachToCanvas(canvas, false)
    nv.setRenderAzimuthElevation(150, 15)
    nv.setScale(1.15)
    nv.setCustomLayout(LAYOUTS.axial)
    return new Viewer(nv, canvas)
  }

  /** Make the frame around the picture ours: the wheel with control held zooms, and the browser's menu,
   * NiiVue's own keys and its double click, which would set the window anew, do nothing. */
  tame(frame: HTMLElement): void {
    const zoom = (event: WheelEvent): void => {
      if (!event.ctrlKey) return
      event.preventDefault()
      event.stopPropagation()
      this.zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15)
    }
    frame.addEventListener('wheel', zoom, { capture: true, passive: false })
    frame.addEventListener('contextmenu', (event) => event.preventDefault())
    for (const kind of ['keydown', 'keyup', 'dblclick']) {
      frame.addEventListener(kind, (event) => event.stopPropagation(), true)
    }
  }

  /** Show a volume; the crosshair stays where it was in the world if `keep`, else it goes to the middle. */
  show(loaded: Loaded, keep: boolean): void {
    const { nv } = this
    const mm = keep && this.shown ? nv.frac2mm(nv.scene.crosshairPos) : null
    this.setDrawing(null)
    nv.volumes = [loaded.image]
    nv.setVolume(loaded.image, 0)
    this.shown = loaded
    nv.scene.crosshairPos = mm ? nv.mm2frac(mm) : nv.vox2frac(loaded.grid.dims.map((n) => n >> 1) as Triple)
    if (!keep) nv.setPan2Dxyzmm([0, 0, 0, 1])
    this.redraw()
    this.locate()
  }

  /** Black and white, in the values of the scan. */
  setWindow(low: number, high: number): void {
    if (!this.shown || !(high > low)) return
    this.shown.image.cal_min = low
    this.shown.image.cal_max = high
    this.nv.updateGLVolume()
  }

  setLayout(layout: Layout): void {
    this.nv.setCustomLayout(LAYOUTS[layout])
  }

  setOpacity(opacity: number): void {
    this.nv.setDrawOpacity(opacity)
  }

  /** Show a drawing over the volume, or none. It lies on the volume's grid. */
  setDrawing(drawing: Drawing | null): void {
    const { nv } = this
    if (drawing === null) {
      if (this.drawing) nv.closeDrawing()
      this.drawing = null
      return
    }
    this.drawing = drawing
    nv.drawBitmap = drawing.voxels
    nv.drawTexture = nv.r8Tex(nv.drawTexture, nv.gl.TEXTURE0 + DRAWING_TEXTURE, [3, ...drawing.dims], false)
    this.upload(null)
  }

  /** Bring an edit to the screen: only the box it touched, as whole volumes take too long for a brush. */
  upload(box: Box | null): void {
    const { nv, drawing } = this
    if (!drawing) return
    const { gl } = nv
    const [nx, ny] = drawing.dims
    const { start, size } = box ?? { start: [0, 0, 0] as Triple, size: drawing.dims }
    gl.activeTexture(gl.TEXTURE0 + DRAWING_TEXTURE)
    gl.bindTexture(gl.TEXTURE_3D, nv.drawTexture)
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1)
    gl.pixelStorei(gl.UNPACK_ROW_LENGTH, nx)
    gl.pixelStorei(gl.UNPACK_IMAGE_HEIGHT, ny)
    gl.texSubImage3D(
      gl.TEXTURE_3D, 0, ...start, ...size, gl.RED, gl.UNSIGNED_BYTE, drawing.voxels, drawing.index(start),
    )
    gl.pixelStorei(gl.UNPACK_ROW_LENGTH, 0)
    gl.pixelStorei(gl.UNPACK_IMAGE_HEIGHT, 0)
    this.redraw()
    this.locate()
  }

  /** Colours of structures; those of `hidden` are not shown. */
  setColours(structures: Structure[], bytes: Bytes, hidden: ReadonlySet<number>): void {
    const lut = new Uint8ClampedArray(4 * 256)
    const labels = Array.from({ length: 256 }, () => '')
    for (const { name, value, colour } of structures) {
      const byte = bytes.of(value)
      const rgb = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) || 0)
      lut.set([...rgb, hidden.has(value) ? 0 : 255], 4 * byte)
      labels[byte] = name
    }
    lut[3] = 0
    this.nv.drawLut = { lut, labels }
    if (!this.shown) return
    this.nv.refreshColormaps()
    this.redraw()
  }

  /** The voxel under a pointer, on a plane; null beside the planes and on the 3D view. */
  at(clientX: number, clientY: number): Place | null {
    const { nv } = this
    if (!this.shown) return null
    const dpr = nv.uiData.dpr ?? 1
    const frame = this.canvas.getBoundingClientRect()
    const [x, y] = [(clientX - frame.left) * dpr, (clientY - frame.top) * dpr]
    for (const [i, slice] of nv.screenSlices.entries()) {
      if (slice.axCorSag > SLICE_TYPE.SAGITTAL) continue
      const frac = nv.screenXY2TextureFrac(x, y, i, true)
      if (frac[0]! < 0) continue
      const dims = this.shown.grid.dims
      const voxel = dims.map((n, k) => Math.min(n - 1, Math.max(0, Math.floor(frac[k]! * n)))) as Triple
      const scale = Math.abs(slice.leftTopWidthHeight[2]! / slice.fovMM[0]!) / dpr
      return { voxel, axis: 2 - slice.axCorSag, scale }
    }
    return null
  }

  goTo(voxel: Triple): void {
    this.nv.scene.crosshairPos = this.nv.vox2frac(voxel)
    this.redraw()
    this.locate()
  }

  /** Move the crosshair by voxels along x, y, z. */
  step(by: Triple): void {
    if (this.shown) this.nv.moveCrosshairInVox(...by)
  }

  /** Make the planes larger or smaller around the crosshair; 0 shows all. */
  zoom(factor: number): void {
    if (!this.shown) return
    const { nv } = this
    const [x, y, z, before] = [...nv.scene.pan2Dxyzmm] as [number, number, number, number]
    const after = factor === 0 ? 1 : Math.min(20, Math.max(1, before * factor))
    if (after === 1) nv.setPan2Dxyzmm([0, 0, 0, 1])
    else {
      const mm = nv.frac2mm(nv.scene.crosshairPos)
      const by = before - after
      nv.setPan2Dxyzmm([x + by * mm[0]!, y + by * mm[1]!, z + by * mm[2]!, after])
    }
    nv.opts.crosshairWidth = CROSSHAIR / after
    this.redraw()
  }

  /** The values of the scan in the order of its file, and what makes of them the values people know. */
  values(): { voxels: ArrayLike<number>; scale: (raw: number) => number } {
    const { image } = this.shown!
    const { scl_slope: slope, scl_inter: inter } = image.hdr!
    return { voxels: image.img!, scale: (raw) => (slope ? raw * slope + inter : raw) }
  }

  /** The values of the scan in the order of the screen. */
  intensity(): ArrayLike<number> {
    const shown = this.shown!
    shown.turned ??= shown.image.img2RAS()
    return shown.turned
  }

  /** Draw anew, once for all changes of a frame. */
  redraw(): void {
    if (this.frame) return
    this.frame = requestAnimationFrame(() => {
      this.frame = 0
      this.nv.drawScene()
    })
  }

  private locate(): void {
    if (!this.shown) return
    const { nv, shown } = this
    const mm = nv.frac2mm(nv.scene.crosshairPos, 0, true)
    const voxel = [...nv.frac2vox(nv.scene.crosshairPos)] as Triple
    const native = shown.image.mm2vox([...mm] as number[]) as ArrayLike<number>
    const value = shown.image.getValue(native[0]!, native[1]!, native[2]!)
    const byte = this.drawing ? this.drawing.voxels[this.drawing.index(voxel)]! : 0
    this.located({ mm: [mm[0]!, mm[1]!, mm[2]!], voxel, value, byte })
  }
}
