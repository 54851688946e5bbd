// In the place of zarrita: NiiVue can stream OME-Zarr, which this page does not, and its codecs weigh 1.4 MB.
const absent = (): never => {
  throw new Error('Zarr is left out of this page.')
}
export class FetchStore {
  constructor() {
    absent()
  }
}
export { absent as get, absent as open, absent as root, absent as slice }
