// Asks before something happens that cannot be undone.

import { byId, element, setText } from "./dom.js";

/**
 * The value of the button that was chosen, or null. `choices` is [{label, value, tone?}]; the first is
 * the careful one and has the focus.
 */
export function ask(title, text, choices) {
  const dialog = byId("question");
  setText(byId("question-title"), title);
  setText(byId("question-text"), text);
  return new Promise((resolve) => {
    let chosen = null;
    const buttons = choices.map(({ label, value, tone = "" }) =>
      element("button", {
        type: "button",
        className: tone,
        textContent: label,
        onclick: () => {
          chosen = value;
          dialog.close();
        },
      }),
    );
    byId("question-buttons").replaceChildren(...buttons);
    dialog.addEventListener("close", () => resolve(chosen), { once: true });
    dialog.showModal();
    buttons[0].focus();
  });
}
