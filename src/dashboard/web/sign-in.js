// Asks for an access token, and keeps it in memory only.

import { useToken } from "./api.js";
import { byId, make } from "./dom.js";
import { words } from "./words.js";

let dialog;

// Asks for a token, and says what the service said of the last one; then calls `signedIn`.
export function askForToken(detail, signedIn) {
  if (dialog) return;
  const field = make("input", {
    id: "token", type: "password", autocomplete: "off", spellcheck: "false", required: true,
    "aria-describedby": "token-note",
  });
  const submit = (event) => {
    event.preventDefault();
    useToken(field.value.trim());
    dialog.close();
    signedIn();
  };
  dialog = make(
    "dialog", { "aria-labelledby": "sign-in-title" },
    make("form", { onsubmit: submit },
      make("h2", { id: "sign-in-title" }, words.signInTitle),
      make("p", { class: "note" }, detail),
      make("div", { class: "field" },
        make("label", { for: "token" }, words.token), field,
        make("p", { class: "note", id: "token-note" }, words.signInNote)),
      make("div", { class: "actions" },
        make("button", { class: "main" }, words.signIn))),
  );
  dialog.addEventListener("close", () => {
    dialog.remove();
    dialog = undefined;
  });
  // Without a token there is nothing to go back to.
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  document.body.append(dialog);
  dialog.showModal();
  byId("token").focus();
}
