// Questions and messages.
import { button, h } from './dom'

/** Ask, and wait for one of the answers; '' where the question is closed. The first is the safe one. */
export function choose<T extends string>(title: string, text: string, answers: Record<T, string>): Promise<T | ''> {
  return new Promise((resolve) => {
    const dialog = h('dialog', { 'aria-label': title })
    const names = Object.keys(answers) as T[]
    const buttons = names.map((name, i) =>
      button(answers[name], () => dialog.close(name), i === 0 ? { class: 'primary', autofocus: true } : {}),
    )
    dialog.append(h('h2', {}, title), h('p', {}, text), h('div', { class: 'row end' }, ...buttons))
    dialog.addEventListener('close', () => {
      dialog.remove()
      resolve(dialog.returnValue as T | '')
    })
    document.body.append(dialog)
    dialog.showModal()
  })
}

/** Ask for a text; '' where there is none, or the question is closed. */
export function ask(title: string, label: string, text: string, answer: string): Promise<string> {
  return new Promise((resolve) => {
    const input = h('input', { type: 'text', value: text, 'aria-label': label, maxlength: 64, required: true, autofocus: true })
    const form = h('form', { method: 'dialog' }, h('h2', {}, title), h('p', {}, input),
      h('div', { class: 'row end' }, button('Cancel', () => dialog.close()), h('button', { type: 'submit', class: 'primary' }, answer)))
    const dialog = h('dialog', { 'aria-label': title }, form)
    form.addEventListener('submit', (event) => {
      event.preventDefault() // the policy of the page lets no form go anywhere
      dialog.close(input.value.trim())
    })
    dialog.addEventListener('close', () => {
      dialog.remove()
      resolve(dialog.returnValue)
    })
    document.body.append(dialog)
    dialog.showModal()
    input.select()
  })
}

let hiding = 0

/** Say something at the foot of the page for some seconds. */
export function say(text: string, tone: 'good' | 'bad' = 'good'): void {
  const place = document.getElementById('said')!
  place.className = tone
  place.textContent = text
  place.hidden = false
  window.clearTimeout(hiding)
  hiding = window.setTimeout(() => (place.hidden = true), tone === 'bad' ? 12_000 : 4000)
}

/** Do something, and say why where it fails. Returns whether it was done. */
export async function attempt(action: () => Promise<unknown>): Promise<boolean> {
  try {
    await action()
    return true
  } catch (error) {
    if (!(error instanceof DOMException && error.name === 'AbortError')) say((error as Error).message, 'bad')
    return false
  }
}
