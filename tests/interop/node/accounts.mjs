// Accounts: made with a token, or a guest's; what a server without mail refuses; who is reported, suspended, locked, gone.
import { createClient } from "matrix-js-sdk";
import { MSC4108RendezvousSession } from "matrix-js-sdk/lib/rendezvous/index.js";
import { membership, parameters, refusal, report, start, until } from "./common.mjs";

const { baseUrls, users } = parameters;
const admin = await start(users[0], baseUrls[0]);
const ask = (client, method, path, body, prefix = "/_matrix/client/v1") => client.http.authedRequest(method, path, undefined, body, { prefix });

// A token lets one in, once.
const { token } = await ask(admin, "POST", "/registration_tokens/new", { uses_allowed: 1 }, "/_synapse/admin/v1");
const anonymous = createClient({ baseUrl: baseUrls[1] });
const login = { username: users[1].name, password: users[1].password };
const free = await anonymous.isUsernameAvailable(login.username);
const register = async (username) => {
    const { flows, session } = await anonymous.registerRequest({ ...login, username }).catch(({ data }) => data);
    const [first, second] = flows[0].stages;
    const prove = (auth) => anonymous.registerRequest({ ...login, username, auth: { ...auth, session } });
    const held = await prove({ type: first, token }).catch((error) => error);
    if (held.data.errcode) throw held;
    return await prove({ type: second });
};
const made = await register(login.username);
const used = await refusal(register("another"));
const newcomer = await start(users[1], baseUrls[1]);

// A guest comes in where guests may, and no further.
const { room_id: room } = await admin.createRoom({
    preset: "public_chat",
    room_alias_name: "open-house",
    initial_state: [{ type: "m.room.guest_access", state_key: "", content: { guest_access: "can_join" } }],
});
const visitor = await anonymous.registerGuest({});
const guest = createClient({ baseUrl: baseUrls[1], accessToken: visitor.access_token, userId: visitor.user_id, deviceId: visitor.device_id });
guest.setGuest(true);
await guest.joinRoom(room);
const further = await refusal(guest.createRoom({}));
await newcomer.joinRoom(room);
await membership(newcomer, room, "join");

// The room as older clients ask for it; its aliases, its place in the directory.
await admin.setRoomDirectoryVisibility(room, "public");
const snapshot = await newcomer.roomInitialSync(room, 5);
const directory = [(await guest.getRoomDirectoryVisibility(room)).visibility, (await newcomer.getLocalAliases(room)).aliases];

// Without mail and without an identity server.
admin.setIdentityServerUrl("https://identity.test");
const mail = [
    (await newcomer.getThreePids()).threepids,
    await refusal(anonymous.requestRegisterEmailToken("a@mail.test", "secret", 1)),
    await refusal(admin.inviteByEmail(room, "a@mail.test")),
];

// Two devices meet to sign one of them in: the server is named in the address, and has no such name here.
const through = (baseUrl) => (url, options) => fetch(String(url).replace(/^https:\/\/[^/]+/, baseUrl), options);
const shows = new MSC4108RendezvousSession({ client: admin, fetchFn: through(baseUrls[0]) });
await shows.send("hello");
const scans = new MSC4108RendezvousSession({ url: shows.url, fetchFn: through(baseUrls[1]) });
const met = [await scans.receive()];
await scans.send("and hello");
met.push(await shows.receive());
await shows.close();

// Who is reported is looked at, and told to be quiet; then let go, for good.
await ask(admin, "POST", `/users/${encodeURIComponent(made.user_id)}/report`, { reason: "spam" }, "/_matrix/client/v3");
const whois = Object.keys((await admin.whoisSynapseUser(made.user_id)).devices);
const moderate = (what, isOn) => ask(admin, "PUT", `/admin/${what}/${encodeURIComponent(made.user_id)}`, { [`${what}ed`]: isOn });
await moderate("suspend", true);
const quiet = await until("suspension", () => refusal(newcomer.sendTextMessage(room, "spam")));
await moderate("suspend", false);
await until("the voice", () => newcomer.sendTextMessage(room, "sorry").catch(() => null));
await moderate("lock", true);
const locked = await until("the lock", () => refusal(newcomer.whoami()));
await moderate("lock", false);
await until("the key", () => newcomer.whoami().catch(() => null));
const { session } = await newcomer.deactivateAccount().catch(({ data }) => data);
await newcomer.deactivateAccount({ type: "m.login.password", identifier: { type: "m.id.user", user: login.username }, password: login.password, session }, true);
const gone = await refusal(anonymous.loginRequest({ type: "m.login.password", identifier: { type: "m.id.user", user: login.username }, password: login.password }));

report({
    registered: [free, made.user_id, used],
    further,
    snapshot: [snapshot.room_id === room, snapshot.membership, snapshot.messages.chunk.length],
    directory,
    mail,
    met,
    whois: whois.length > 0,
    quiet,
    locked,
    gone,
});
