// Asks before something happens that cannot be undone.

import { byId, element, setText } from "./dom.js";

/**
 * The value of the button that was chosen, or null. `choices` is [{label, value, tone?}]; the first is
 * the careful one and has the focus. With `typed`, choices that are dangerous want that word to be typed first.
 */
export function ask(title, text, choices, typed = null) {
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
    wantTyped(
      typed,
      buttons.filter((button) => button.className === "danger"),
    );
    dialog.addEventListener("close", () => resolve(chosen), { once: true });
    dialog.showModal();
    buttons[0].focus();
  });
}

function wantTyped(word, buttons) {
  const [label, input] = [document.querySelector("#question-typed label"), byId("question-input")];
  byId("question-typed").hidden = word === null;
  setText(label, `Type ${word} to go on`);
  input.value = "";
  input.oninput = () => {
    for (const button of buttons) button.disabled = word !== null && input.value.trim() !== word;
  };
  input.oninput();
}
