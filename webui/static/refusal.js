// What the studio did not take, and why: a card beside every Generate button. Closing one closes all of them.

import { h } from "./dom.js";
import { failureCard } from "./failure_card.js";
import { live } from "./live.js";

let refused = null;
live.addEventListener("refused", ({ detail }) => (refused = detail));
live.addEventListener("submitted", dismissRefusal);

export function dismissRefusal() {
  if (refused) live.tell("refused", null);
}

// A place for the card. `onShow` is called when one appears; `connect` and `disconnect` go with the element around it.
export class RefusalPlace {
  constructor(onShow) {
    this.element = h("div", { class: "easel-refusal", hidden: true });
    this.take = ({ detail }) => {
      this.draw(detail);
      if (detail) onShow();
    };
  }

  connect() {
    live.addEventListener("refused", this.take);
    this.draw(refused);
  }

  disconnect() {
    live.removeEventListener("refused", this.take);
  }

  draw(error) {
    this.element.hidden = !error;
    this.element.replaceChildren(...(error ? [failureCard(error, dismissRefusal)] : []));
  }
}
