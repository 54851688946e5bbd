import { defineConfig } from 'vite'
import { records } from './tools/records.ts'

export default defineConfig({
  base: '/',
  resolve: { alias: { zarrita: new URL('./tools/no-zarr.ts', import.meta.url).pathname } },
  plugins: [records()],
  build: {
    outDir: '../src/mass3d/server/page',
    emptyOutDir: true,
    target: 'es2022',
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 1000,
  },
  // `npm run dev` shows the sources beside a server that runs: MASS3D=http://127.0.0.1:8765 npm run dev
  server: { proxy: { '/api': process.env['MASS3D'] ?? 'http://127.0.0.1:8765' } },
})
