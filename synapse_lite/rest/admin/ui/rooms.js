// The largest rooms, or those that somebody looks for; a room is shut down from here.

import * as api from "./api.js";
import { Rows, byId, element, setAttribute, setNotice, setText } from "./dom.js";
import { number } from "./format.js";
import { wireSearch } from "./search.js";
import { shutDownButton } from "./shutdown.js";

const SHOWN = 10;

export class RoomList {
  #search = byId("room-search");
  #rows;
  #asked = 0;

  /** `onStarted(id)`: a task to show; `onError(error)`. */
  constructor({ onStarted, onError }) {
    this.#rows = new Rows(
      byId("rooms"),
      (room) => room.room_id,
      () => row({ onStarted, onError }),
    );
    byId("room-filter").addEventListener("submit", (event) => event.preventDefault());
    wireSearch("room-search", "rooms", () => this.refresh(), onError);
  }

  async refresh() {
    const asked = ++this.#asked;
    const query = new URLSearchParams({ order_by: "joined_members", limit: SHOWN });
    const words = this.#search.value.trim();
    if (words) query.set("search_term", words);
    try {
      const page = await api.rooms(query);
      if (asked === this.#asked) this.#show(page);
    } catch (error) {
      if (!error.isMissing) throw error;
      byId("rooms-card").hidden = true;
    }
  }

  clear() {
    this.#asked++;
    this.#rows.show([]);
    byId("rooms-card").hidden = true;
  }

  #show({ rooms, total_rooms: total }) {
    byId("rooms-card").hidden = false;
    this.#rows.show(rooms);
    setNotice(byId("rooms-notice"), words(rooms.length, total));
  }
}

function words(shown, total) {
  if (total === 0) return "No room matches.";
  return total > shown ? `The largest ${number(shown)} of ${number(total)}.` : null;
}

function row({ onStarted, onError }) {
  const name = element("strong");
  const id = element("span", { className: "id" });
  const facts = element("span", { className: "muted small" });
  const shutDown = shutDownButton({ onStarted, onError });
  return {
    node: element("li", {}, element("p", {}, name, facts), element("p", {}, id, shutDown.node)),
    update(room) {
      setText(name, room.name ?? room.canonical_alias ?? "Room without a name");
      setText(id, room.room_id);
      setAttribute(id, "title", room.room_id);
      setText(facts, `${number(room.joined_members)} joined, ${number(room.joined_local_members)} of this server`);
      shutDown.update(room.room_id);
    },
  };
}
