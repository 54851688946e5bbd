// Making elements. Names and messages only ever become text, never markup.

type Child = Node | string | number | null | undefined | false
type Listener = (event: Event) => void
type Props = Record<string, string | number | boolean | Listener | null | undefined>

function setProp(element: HTMLElement, name: string, value: Props[string]): void {
  if (value === null || value === undefined || value === false) return
  if (typeof value === 'function') element.addEventListener(name, value)
  else if (name === 'class') element.className = String(value)
  else element.setAttribute(name, value === true ? '' : String(value))
}

/** An element with attributes, listeners (`click: () => ...`) and children. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props: Props = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(props)) setProp(element, name, value)
  put(element, ...children)
  return element
}

/** Add children; absent ones are left out. */
export function put(element: HTMLElement, ...children: Child[]): void {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue
    element.append(typeof child === 'number' ? String(child) : child)
  }
}

/** Put children in the place of what an element holds. */
export function refill(element: HTMLElement, ...children: Child[]): void {
  element.replaceChildren()
  put(element, ...children)
}

/** Set the text of an element only where it differs, so that screen readers are not told twice. */
export function setText(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text
}

export function button(label: string, click: () => void, props: Props = {}): HTMLButtonElement {
  return h('button', { type: 'button', click: () => click(), ...props }, label)
}

/** A command ready to copy. Where the browser keeps the clipboard shut, the text is selected instead. */
export function commandLine(command: string): HTMLElement {
  const code = h('code', { tabindex: 0 }, command)
  const copy = button('Copy', () => void take(), { class: 'small', 'aria-label': 'Copy the command' })
  const take = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(command)
      setText(copy, 'Copied')
    } catch {
      getSelection()?.selectAllChildren(code)
    }
  }
  return h('div', { class: 'command' }, code, copy)
}

/** A command behind a heading, as there are many of them. */
export function foldedCommand(command: string | undefined): HTMLElement | null {
  if (!command) return null
  return h('details', { class: 'folded' }, h('summary', {}, 'The same as a command'), commandLine(command))
}
