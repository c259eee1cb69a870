// Fields in which one looks for something in a list.

import { byId } from "./dom.js";

const TYPING_MS = 300;

/** `refresh()` shows what fits the words of the field; until then the list is marked, since it shows what fitted before. */
export function wireSearch(fieldId, listId, refresh, onError) {
  const list = byId(listId);
  let typing = null;
  let searches = 0;
  byId(fieldId).addEventListener("input", () => {
    clearTimeout(typing);
    list.setAttribute("aria-busy", "true");
    const search = ++searches;
    typing = setTimeout(async () => {
      try {
        await refresh();
      } catch (error) {
        onError(error);
      } finally {
        if (search === searches) list.removeAttribute("aria-busy");
      }
    }, TYPING_MS);
  });
}
