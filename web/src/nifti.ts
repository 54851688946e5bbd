// Label maps to and from NIfTI, on the grid of a scan. Pure but for the types.
import type { Triple } from './drawing'

/** How the voxels of a file lie to those of the screen (right, anterior, superior). */
export interface Order {
  /** Sizes along the axes of the screen. */
  dims: Triple
  /** Index in the file of the first voxel of each axis (they add up), and the step to the next. */
  start: Triple
  step: Triple
}

const HEADER = 352
const [UINT8, UINT16] = [2, 512]

/** Visit all rows along x: index of the first voxel on the screen, and in the file. */
function eachRow(order: Order, visit: (screen: number, file: number) => void): void {
  const { dims, start, step } = order
  let screen = 0
  for (let z = 0; z < dims[2]; z++) {
    for (let y = 0; y < dims[1]; y++, screen += dims[0]) {
      visit(screen, start[0] + start[1] + start[2] + z * step[2] + y * step[1])
    }
  }
}

/** Voxels of a file in the order of the screen. */
export function toScreen(
  voxels: ArrayLike<number>,
  order: Order,
  byteOf: (value: number) => number,
): Uint8Array<ArrayBuffer> {
  const [n, step] = [order.dims[0], order.step[0]]
  const out = new Uint8Array(n * order.dims[1] * order.dims[2])
  eachRow(order, (screen, file) => {
    for (let x = 0; x < n; x++) {
      const value = voxels[file + x * step]!
      if (value !== 0) out[screen + x] = byteOf(value)
    }
  })
  return out
}

/** A drawing as the bytes of an uncompressed .nii on the grid that `image`, the bytes of one, has.
 *
 * uint8, or uint16 where a value needs it; header little- or big-endian as the image's is. */
export function encode(
  image: ArrayBuffer,
  drawing: Uint8Array,
  order: Order,
  valueOf: (byte: number) => number,
): Uint8Array<ArrayBuffer> {
  const values = new Uint16Array(256).map((_, byte) => (byte ? valueOf(byte) : 0))
  const wide = values.some((value) => value > 255) && drawing.some((byte) => values[byte]! > 255)
  const out = new Uint8Array(HEADER + drawing.length * (wide ? 2 : 1))
  out.set(new Uint8Array(image, 0, 348))
  const view = new DataView(out.buffer)
  const little = view.getInt32(0, true) === 348
  view.setInt16(70, wide ? UINT16 : UINT8, little)
  view.setInt16(72, wide ? 16 : 8, little)
  view.setFloat32(108, HEADER, little)
  view.setFloat32(112, 1, little) // slope
  view.setFloat32(116, 0, little) // intercept
  view.setFloat32(124, 0, little) // cal_max
  view.setFloat32(128, 0, little) // cal_min
  const [n, step] = [order.dims[0], order.step[0]]
  eachRow(order, (screen, file) => {
    for (let x = 0; x < n; x++) {
      const value = values[drawing[screen + x]!]!
      if (value === 0) continue
      if (wide) view.setUint16(HEADER + 2 * (file + x * step), value, little)
      else out[HEADER + file + x * step] = value
    }
  })
  return out
}

/** Bytes for values: the value itself up to 255; above, bytes that no structure has. */
export class Bytes {
  private readonly byte = new Map<number, number>()
  private readonly value = new Map<number, number>()

  constructor(values: number[]) {
    for (const value of values) if (value <= 255) this.pair(value, value)
    for (const value of values) this.of(value)
  }

  /** The byte of a value; 0 where all are taken. */
  of(value: number): number {
    const known = this.byte.get(value)
    if (known !== undefined) return known
    let byte = value <= 255 && !this.value.has(value) ? value : 255
    while (byte > 0 && this.value.has(byte)) byte--
    if (byte > 0) this.pair(value, byte)
    return byte
  }

  valueOf(byte: number): number {
    return this.value.get(byte) ?? 0
  }

  private pair(value: number, byte: number): void {
    this.byte.set(value, byte)
    this.value.set(byte, value)
  }
}

/** Whether two grids are one: the same sizes, corners within a hundredth of a voxel. */
export function sameGrid(a: { dims: Triple; affine: number[] }, b: { dims: Triple; affine: number[] }): boolean {
  if (a.dims.some((size, i) => size !== b.dims[i])) return false
  const voxel = Math.min(...[0, 1, 2].map((i) => Math.hypot(a.affine[i]!, a.affine[4 + i]!, a.affine[8 + i]!)))
  const corners = [0, 1, 2, 3].map((i) => (i < 3 ? a.dims[i]! : 1))
  return a.affine.every((entry, i) => {
    const apart = Math.abs(entry - b.affine[i]!) * (corners[i % 4] ?? 1)
    return i >= 12 || apart <= 0.01 * voxel + 1e-3
  })
}
