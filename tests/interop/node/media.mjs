// A web client's media: uploads, a download and a thumbnail with its token, and an attachment that only it can read.
import { createClient } from "matrix-js-sdk";
import { logger } from "matrix-js-sdk/lib/logger.js";

const { baseUrl, readUrl, user, picture } = JSON.parse(process.argv[2]);
logger.disableAll?.();
for (const method of ["debug", "info", "log", "warn"]) console[method] = () => {};

const plain = createClient({ baseUrl });
const login = await plain.loginRequest({
    type: "m.login.password",
    identifier: { type: "m.id.user", user: user.name },
    password: user.password,
});
const client = createClient({ baseUrl, accessToken: login.access_token, userId: login.user_id });
const headers = { Authorization: `Bearer ${login.access_token}` };

// At the other process.
const get = (mxc, ...size) => fetch(client.mxcUrlToHttp(mxc, ...size, ...[undefined, undefined, undefined].slice(size.length), false, true, true).replace(baseUrl, readUrl), { headers });
const bytes = async (answer) => Buffer.from(await answer.arrayBuffer());

const data = Buffer.from(picture, "base64");
const { content_uri: mxc } = await client.uploadContent(data, { name: "cat é.png", type: "image/png" });
const whole = await get(mxc);
const small = await get(mxc, 32, 32, "crop");

// As the specification has it ("Sending encrypted attachments"): AES-CTR, the key in the event.
const key = await crypto.subtle.generateKey({ name: "AES-CTR", length: 256 }, true, ["encrypt", "decrypt"]);
const algorithm = { name: "AES-CTR", counter: crypto.getRandomValues(new Uint8Array(16)), length: 64 };
const secret = Buffer.from(await crypto.subtle.encrypt(algorithm, key, Buffer.from("a secret")));
const { content_uri: hidden } = await client.uploadContent(secret, { type: "application/octet-stream" });
const came = await bytes(await get(hidden));
const read = Buffer.from(await crypto.subtle.decrypt(algorithm, key, came)).toString();

process.stdout.write(
    JSON.stringify({
        same: (await bytes(whole)).equals(data),
        type: whole.headers.get("content-type"),
        disposition: whole.headers.get("content-disposition"),
        thumbnail: (await bytes(small)).toString("base64"),
        anonymous: (await fetch(client.mxcUrlToHttp(mxc))).status,
        limit: (await client.getMediaConfig(true))["m.upload.size"],
        read,
    }),
);
process.exit(0);
