// Making and changing elements. Text is always text: nothing here reads HTML.

export const byId = (id) => document.getElementById(id);

/** An element with properties or attributes; children are nodes or text. */
export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** Shows the words, or hides the element when there are none. */
export function setNotice(node, words) {
  setText(node, words ?? "");
  node.hidden = !words;
}

/**
 * Children of an element, one for each item: they stay where they are while the items change, so that
 * focus and selection stay too. `create(item)` returns {node, update(item)}.
 */
export class Rows {
  #parent;
  #keyOf;
  #create;
  #rows = new Map();

  constructor(parent, keyOf, create) {
    this.#parent = parent;
    this.#keyOf = keyOf;
    this.#create = create;
  }

  show(items) {
    const wanted = new Map(items.map((item) => [this.#keyOf(item), item]));
    for (const [key, row] of this.#rows) {
      if (wanted.has(key)) continue;
      if (row.node.contains(document.activeElement)) this.#focusTitle();
      row.node.remove();
      this.#rows.delete(key);
    }
    let index = 0;
    for (const [key, item] of wanted) {
      if (!this.#rows.has(key)) this.#rows.set(key, this.#create(item));
      const row = this.#rows.get(key);
      row.update(item);
      const there = this.#parent.children[index++] ?? null;
      if (there !== row.node) this.#parent.insertBefore(row.node, there);
    }
  }

  /** Who was in a row that goes stays at the list, and not on the button of another row. */
  #focusTitle() {
    const title = this.#parent.closest("section")?.querySelector("h1, h2");
    if (!title) return;
    title.tabIndex = -1;
    title.focus();
  }
}
