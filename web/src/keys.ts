// The keyboard: one table of shortcuts, which the help shows too.
import { button, h } from './dom'

export interface Shortcut {
  /** As `event.key` says, `ctrl+` before it where control (or command) is held. */
  key: string
  shown?: string
  told: string
  does: () => void
}

/** Keys belong to a field while one types in it. */
function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false
  if (target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement) return true
  return target instanceof HTMLInputElement && !['checkbox', 'color', 'file', 'range'].includes(target.type)
}

function usesKey(target: EventTarget | null, key: string): boolean {
  const arrows = target instanceof HTMLInputElement && target.type === 'range'
  return arrows && key.startsWith('Arrow')
}

/** Where `listen` hears nothing: while something is asked. */
function isAsked(): boolean {
  return document.querySelector('dialog[open]') !== null
}

export function listen(current: () => Shortcut[], place: Document | ShadowRoot = document, deaf: () => boolean = isAsked): void {
  place.addEventListener('keydown', (heard) => {
    const event = heard as KeyboardEvent
    if (event.altKey || deaf()) return
    const key = (event.ctrlKey || event.metaKey ? 'ctrl+' : '') + event.key
    if ((isTyping(event.target) && key !== 'Escape' && key !== 'ctrl+s') || usesKey(event.target, key)) return
    const shortcut = current().find((other) => other.key === key)
    if (!shortcut) return
    event.preventDefault()
    event.stopPropagation()
    shortcut.does()
  }, true)
}

export function showHelp(groups: [string, Shortcut[]][]): void {
  const close = button('Close', () => dialog.close(), { class: 'primary', autofocus: true })
  const lists = groups.map(([title, shortcuts]) => h('section', {}, h('h3', {}, title), h('dl', {},
    ...shortcuts.filter(({ told }) => told).map(({ key, shown, told }) => h('div', {}, h('dt', {}, h('kbd', {}, shown ?? key)), h('dd', {}, told))))))
  const dialog = h('dialog', { class: 'help', 'aria-label': 'Keys' }, h('h2', {}, 'Keys'), h('div', { class: 'columns' }, ...lists),
    h('p', { class: 'quiet' }, 'On the picture: wheel for slices, control and wheel to zoom, right button held to change the window, shift held to move the crosshair while a tool is chosen.'),
    h('div', { class: 'row end' }, close))
  dialog.addEventListener('close', () => dialog.remove())
  document.body.append(dialog)
  dialog.showModal()
}
