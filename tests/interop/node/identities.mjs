// Two devices of a user, with Rust cryptography, make the user's first identity at the same moment.
import { writeFileSync } from "node:fs";
import { ClientEvent, createClient } from "matrix-js-sdk";
import { parameters, report, until } from "./common.mjs";

const { baseUrls, user } = parameters;

async function start(baseUrl, deviceId) {
    const { access_token: accessToken, user_id: userId } = await createClient({ baseUrl }).loginRequest({
        type: "m.login.password",
        identifier: { type: "m.id.user", user: user.name },
        password: user.password,
        device_id: deviceId,
    });
    const client = createClient({ baseUrl, accessToken, userId, deviceId });
    await client.initRustCrypto({ useIndexedDB: false });
    const prepared = new Promise((resolve) => client.on(ClientEvent.Sync, (state) => state === "PREPARED" && resolve()));
    await client.startClient({ initialSyncLimit: 1 });
    await prepared;
    return client;
}

// Who is asked for a password has come second, and is content with that.
async function identify(client) {
    let isAsked = false;
    const authUploadDeviceSigningKeys = async (upload) => {
        try {
            return await upload(null);
        } catch (error) {
            isAsked = error.httpStatus === 401;
            throw error;
        }
    };
    try {
        await client.getCrypto().bootstrapCrossSigning({ authUploadDeviceSigningKeys });
    } catch (error) {
        if (!isAsked) throw error;
    }
    return isAsked;
}

const clients = [await start(baseUrls[0], "LEFT"), await start(baseUrls[1], "RIGHT")];
writeFileSync("ready", "");
const asked = await Promise.all(clients.map(identify));
const first = clients[asked.indexOf(false)];
const userId = first.getUserId();
const stored = await until("the stored keys", () =>
    first.http
        .authedRequest("POST", "/keys/query", undefined, { device_keys: { [userId]: [] } }, { prefix: "/_matrix/client/v3" })
        .catch(() => null),
);
const isSigned = await until("the signature of the device", async () =>
    (await first.getCrypto().getDeviceVerificationStatus(userId, first.getDeviceId()))?.crossSigningVerified,
);
report({
    asked,
    stored: Object.values(stored.master_keys[userId].keys),
    own: await first.getCrypto().getCrossSigningKeyId(),
    isSigned,
});
