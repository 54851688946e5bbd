// The hand: pointer on the picture -> strokes of a drawing. Without a tool NiiVue moves its crosshair.
import type { Drawing, Triple } from './drawing'
import type { Place, Viewer } from './viewer'

export type Tool = 'look' | 'brush' | 'erase' | 'fill' | 'grow'

/** What the hand draws with. Sizes in mm; `tolerance` in the values of the file. */
export interface Hand {
  tool: Tool
  size: number
  ball: boolean
  byte: number
  tolerance: number
  reach: number
}

const SIZES = [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 26, 34, 44, 60, 80]

/** The next larger or smaller brush. */
export function nextSize(size: number, way: 1 | -1): number {
  const larger = SIZES.filter((other) => (way > 0 ? other > size : other < size))
  return (way > 0 ? larger[0] : larger[larger.length - 1]) ?? size
}

interface Stroke {
  axis: number
  last: Triple
}

export class Brush {
  hand: Hand = { tool: 'look', size: 8, ball: false, byte: 0, tolerance: 0, reach: 40 }
  drawing: Drawing | null = null
  /** Called after each stroke that changed something. */
  changed: () => void = () => undefined
  /** Called with a sentence where a stroke could not be done. */
  refused: (why: string) => void = () => undefined
  lastAxis = 2
  private stroke: Stroke | null = null
  private readonly viewer: Viewer
  private readonly ring: HTMLElement

  constructor(viewer: Viewer, frame: HTMLElement, canvas: HTMLCanvasElement, ring: HTMLElement) {
    this.viewer = viewer
    this.ring = ring
    // Before NiiVue, which listens on the canvas: these stand on its frame, in the capture phase.
    frame.addEventListener('pointerdown', (event) => this.down(event, canvas), true)
    frame.addEventListener('pointermove', (event) => this.move(event), true)
    frame.addEventListener('pointerup', () => this.up(), true)
    frame.addEventListener('pointercancel', () => this.up(), true)
    frame.addEventListener('pointerleave', () => this.hideRing())
    for (const kind of ['mousedown', 'mousemove', 'touchstart', 'touchmove']) {
      frame.addEventListener(kind, (event) => this.stroke && event.stopPropagation(), true)
    }
  }

  /** Whether a stroke is being drawn now. */
  get busy(): boolean {
    return this.stroke !== null
  }

  hideRing(): void {
    this.ring.hidden = true
  }

  private down(event: PointerEvent, canvas: HTMLCanvasElement): void {
    if (this.hand.tool === 'look' || event.button !== 0 || event.shiftKey || !this.drawing) return
    const place = this.viewer.at(event.clientX, event.clientY)
    if (!place) return
    if (this.hand.byte === 0) return this.refused('Add a structure first: it says what you draw.')
    canvas.focus()
    canvas.setPointerCapture(event.pointerId)
    this.stroke = { axis: place.axis, last: place.voxel }
    this.lastAxis = place.axis
    this.drawing.begin()
    this.act(place)
  }

  private move(event: PointerEvent): void {
    const place = this.viewer.at(event.clientX, event.clientY)
    this.moveRing(event, place)
    if (!this.stroke || !this.isPen || place?.axis !== this.stroke.axis) return
    this.draw(this.stroke.last, place.voxel)
    this.stroke.last = place.voxel
  }

  private up(): void {
    if (!this.stroke || !this.drawing) return
    const at = this.stroke.last
    this.stroke = null
    if (this.drawing.end()) this.changed()
    this.viewer.goTo(at)
  }

  private get isPen(): boolean {
    return this.hand.tool === 'brush' || this.hand.tool === 'erase'
  }

  private act(place: Place): void {
    const { tool, byte, tolerance, reach } = this.hand
    if (this.isPen) return this.draw(place.voxel, place.voxel)
    const box =
      tool === 'fill'
        ? this.drawing!.fill(place.voxel, place.axis, byte)
        : this.drawing!.grow(place.voxel, this.viewer.intensity(), tolerance, reach, byte)
    if (box) this.viewer.upload(box)
    else if (tool === 'fill') this.refused('Nothing to fill here: click inside a closed outline of this slice.')
  }

  private draw(from: Triple, to: Triple): void {
    const { tool, size, ball, byte } = this.hand
    const axis = ball ? null : this.stroke!.axis
    const box =
      tool === 'erase'
        ? this.drawing!.line(from, to, axis, size, 0, byte)
        : this.drawing!.line(from, to, axis, size, byte)
    this.viewer.upload(box)
  }

  private moveRing(event: PointerEvent, place: Place | null): void {
    const shown = place !== null && this.isPen && this.drawing !== null
    this.ring.hidden = !shown
    if (!shown) return
    const diameter = Math.max(5, this.hand.size * place.scale)
    const frame = this.ring.parentElement!.getBoundingClientRect()
    this.ring.style.width = this.ring.style.height = `${diameter}px`
    this.ring.style.transform =
      `translate(${event.clientX - frame.left - diameter / 2}px, ${event.clientY - frame.top - diameter / 2}px)`
  }
}
