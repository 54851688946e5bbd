import { expect, test } from 'vitest'
import { Bytes, encode, sameGrid, toScreen, type Order } from '../src/nifti'

/** Header of a scan of int16 with a slope, as bytes. */
function header(little: boolean): ArrayBuffer {
  const view = new DataView(new ArrayBuffer(352))
  view.setInt32(0, 348, little)
  view.setInt16(40, 3, little)
  ;[4, 3, 2].forEach((n, i) => view.setInt16(42 + 2 * i, n, little))
  view.setInt16(70, 4, little)
  view.setInt16(72, 16, little)
  view.setFloat32(112, 2, little)
  view.setFloat32(116, -1024, little)
  view.setInt16(254, 1, little)
  view.setFloat32(280, -1.5, little)
  new Uint8Array(view.buffer).set([0x6e, 0x2b, 0x31, 0], 344)
  return view.buffer
}

// A file of 4 x 3 x 2 voxels whose first axis runs to the left and whose other two are swapped.
const TURNED: Order = { dims: [4, 2, 3], start: [3, 0, 0], step: [-1, 12, 4] }
const bytes = new Bytes([1, 2])

test('what goes to the screen comes back to its place in the file', () => {
  const voxels = Uint8Array.from({ length: 24 }, (_, i) => i % 3)
  const screen = toScreen(voxels, TURNED, (value) => bytes.of(value))
  expect(screen).not.toEqual(voxels)
  const file = encode(header(true), screen, TURNED, (byte) => bytes.valueOf(byte))
  expect(file.slice(352)).toEqual(voxels)
})

test('a voxel of the screen is the one of the file that its axes say', () => {
  const voxels = new Uint8Array(24)
  voxels[2 + 4 * (1 + 3 * 1)] = 1
  const screen = toScreen(voxels, TURNED, (value) => value)
  expect(screen.indexOf(1)).toBe(1 + 4 * (1 + 2 * 1))
})

test.each([true, false])('the header is that of the scan, but for what the voxels are (little endian: %s)', (little) => {
  const image = header(little)
  const file = encode(image, new Uint8Array(24), TURNED, (byte) => byte)
  const [was, is] = [new DataView(image), new DataView(file.buffer)]
  expect(file).toHaveLength(352 + 24)
  expect([is.getInt16(70, little), is.getInt16(72, little)]).toEqual([2, 8])
  expect([is.getFloat32(108, little), is.getFloat32(112, little), is.getFloat32(116, little)]).toEqual([352, 1, 0])
  expect(is.getFloat32(280, little)).toBe(was.getFloat32(280, little))
  expect(is.getInt16(44, little)).toBe(3)
})

test('values above 255 are drawn with free bytes and written as uint16', () => {
  const large = new Bytes([1000, 255, 7])
  expect(large.of(255)).toBe(255)
  expect(large.of(1000)).toBe(254)
  expect(large.valueOf(254)).toBe(1000)
  const drawing = new Uint8Array(24)
  drawing[3] = large.of(1000)
  const file = encode(header(true), drawing, TURNED, (byte) => large.valueOf(byte))
  expect(file).toHaveLength(352 + 48)
  expect(new DataView(file.buffer).getInt16(70, true)).toBe(512)
  expect(new Uint16Array(file.slice(352).buffer)[0]).toBe(1000)
})

test('bytes that no structure has are background in the file', () => {
  const drawing = new Uint8Array(24).fill(9)
  expect(encode(header(true), drawing, TURNED, (byte) => bytes.valueOf(byte)).slice(352).every((value) => value === 0)).toBe(true)
})

test('grids are the same within a hundredth of a voxel at their corners', () => {
  const grid = (shift: number, scale: number, size = 100): Parameters<typeof sameGrid>[0] => ({
    dims: [size, 50, 20], affine: [scale, 0, 0, shift, 0, 1, 0, 0, 0, 0, 3, 0, 0, 0, 0, 1],
  })
  expect(sameGrid(grid(0, 1), grid(0.005, 1))).toBe(true)
  expect(sameGrid(grid(0, 1), grid(0.5, 1))).toBe(false)
  expect(sameGrid(grid(0, 1), grid(0, 1.001))).toBe(false)
  expect(sameGrid(grid(0, 1), grid(0, 1, 99))).toBe(false)
})
