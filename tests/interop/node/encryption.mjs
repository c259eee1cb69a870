// Clients with Rust cryptography: identities, a backup of room keys, a lost device, verification of a user.
import { ClientEvent, createClient } from "matrix-js-sdk";
import { CryptoEvent, VerificationPhase, VerifierEvent } from "matrix-js-sdk/lib/crypto-api/index.js";
import { logger } from "matrix-js-sdk/lib/logger.js";

const { baseUrls, users, texts } = JSON.parse(process.argv[2]);
logger.disableAll?.();
for (const method of ["debug", "info", "log", "warn", "error", "trace"]) console[method] = () => {};
// Where Alice, Bob and Alice's next device log in.
const [aliceUrl, bobUrl, againUrl] = baseUrls;
const ENCRYPTION = { type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } };

let secretKey; // of alice's secret storage: what her user remembers

async function start(baseUrl, { name, password }, deviceId) {
    const plain = createClient({ baseUrl });
    const login = await plain.loginRequest({
        type: "m.login.password",
        identifier: { type: "m.id.user", user: name },
        password,
        device_id: deviceId,
    });
    const client = createClient({
        baseUrl,
        accessToken: login.access_token,
        userId: login.user_id,
        deviceId: login.device_id,
        cryptoCallbacks: {
            getSecretStorageKey: async ({ keys }) => [Object.keys(keys)[0], secretKey],
            cacheSecretStorageKey: () => {},
        },
    });
    await client.initRustCrypto({ useIndexedDB: false });
    const prepared = new Promise((resolve, reject) =>
        client.on(ClientEvent.Sync, (state, _, data) => {
            if (state === "PREPARED") resolve();
            if (state === "ERROR") reject(data.error);
        }),
    );
    await client.startClient({ lazyLoadMembers: true, initialSyncLimit: 20 });
    await prepared;
    return client;
}

const pause = () => new Promise((resolve) => setTimeout(resolve, 50));
async function until(what, condition) {
    const deadline = performance.now() + 300_000;
    while (performance.now() < deadline) {
        const found = await condition();
        if (found) return found;
        await pause();
    }
    throw new Error(`waited in vain: ${what}`);
}
const identify = (client) =>
    client.getCrypto().bootstrapCrossSigning({ authUploadDeviceSigningKeys: (upload) => upload(null) });
const joined = (client, roomId, userId) =>
    until(`${userId} in the room`, () => client.getRoom(roomId)?.getMember(userId)?.membership === "join");
const reads = (client, roomId, text) =>
    until(`"${text}" for ${client.getDeviceId()}`, () =>
        client
            .getRoom(roomId)
            ?.getLiveTimeline()
            .getEvents()
            .find((event) => event.isEncrypted() && event.getContent().body === text),
    );

// Alice and Bob have identities, and Alice keeps her keys on the server.
const alice = await start(aliceUrl, users[0], "LOST");
const bob = await start(bobUrl, users[1], "BOB");
await identify(alice);
await identify(bob);
await alice.getCrypto().bootstrapSecretStorage({
    createSecretStorageKey: async () => {
        const key = await alice.getCrypto().createRecoveryKeyFromPassphrase();
        secretKey = key.privateKey;
        return key;
    },
    setupNewSecretStorage: true,
    setupNewKeyBackup: true,
});

// They talk in secret, and Alice's device puts its keys into the backup.
const { room_id: roomId } = await alice.createRoom({ preset: "public_chat", initial_state: [ENCRYPTION] });
await bob.joinRoom(roomId, { viaServers: [alice.getDomain()] });
await joined(alice, roomId, bob.getUserId());
await joined(bob, roomId, alice.getUserId());
await alice.sendTextMessage(roomId, texts[0]);
await reads(bob, roomId, texts[0]);
await bob.sendTextMessage(roomId, texts[1]);
await reads(alice, roomId, texts[1]);
const backup = await until("the backup", async () => {
    const info = await alice.http.authedRequest("GET", "/room_keys/version", undefined, undefined, { prefix: "/_matrix/client/v3" });
    return info.count >= 2 && info;
});

// The device is lost; a new one gets identity and keys from the server.
alice.stopClient();
const again = await start(againUrl, users[0], "FOUND");
await again.getCrypto().userHasCrossSigningKeys(again.getUserId(), true);
await identify(again);
await again.getCrypto().loadSessionBackupPrivateKeyFromSecretStorage();
const restored = await again.getCrypto().restoreKeyBackup();
for (const text of texts.slice(0, 2)) await reads(again, roomId, text);
const device = await until("the signature of the new device", async () => {
    const status = await again.getCrypto().getDeviceVerificationStatus(again.getUserId(), "FOUND");
    return status.crossSigningVerified && status;
});

// Bob compares emoji with the new device, and knows Alice from then on.
const asked = new Promise((resolve) => again.on(CryptoEvent.VerificationRequestReceived, resolve));
const request = await bob.getCrypto().requestVerificationDM(again.getUserId(), roomId);
const theirs = await asked;
await theirs.accept();
await until("readiness", () => request.phase === VerificationPhase.Ready);
const emoji = [];
const compare = (verifier) => {
    verifier.on(VerifierEvent.ShowSas, (sas) => {
        emoji.push(sas.sas.emoji.map(([symbol]) => symbol).join(""));
        sas.confirm();
    });
    return verifier.verify();
};
const verifier = await request.startVerification("m.sas.v1");
const answered = until("the verifier", () => theirs.verifier);
await Promise.all([compare(verifier), answered.then(compare)]);
const verified = (client, user) =>
    until(`${user} verified`, async () => (await client.getCrypto().getUserVerificationStatus(user)).isCrossSigningVerified());
await verified(bob, again.getUserId());
await verified(again, bob.getUserId());

// Only the new device reads what is said now.
await bob.sendTextMessage(roomId, texts[2]);
await reads(again, roomId, texts[2]);

// The lost device is deleted, and Bob encrypts for it no more.
const devicesOf = async (client, userId) =>
    [...((await client.getCrypto().getUserDeviceInfo([userId])).get(userId)?.keys() ?? [])].sort();
const before = await devicesOf(bob, again.getUserId());
const proof = (session) => ({
    type: "m.login.password",
    session,
    identifier: { type: "m.id.user", user: users[0].name },
    password: users[0].password,
});
await again.deleteMultipleDevices(["LOST"]).catch((error) => again.deleteMultipleDevices(["LOST"], proof(error.data.session)));
await until("the end of the device", async () => (await devicesOf(bob, again.getUserId())).length < before.length);
const devices = [before, await devicesOf(bob, again.getUserId())];
await bob.sendTextMessage(roomId, texts[3]);
await reads(again, roomId, texts[3]);

// Alice begins anew with another identity, for which she needs her password, and Bob is told.
let isAsked = false;
await again.getCrypto().bootstrapCrossSigning({
    setupNewCrossSigning: true,
    authUploadDeviceSigningKeys: async (upload) => {
        try {
            return await upload(null);
        } catch (error) {
            isAsked = error.httpStatus === 401;
            return upload(proof(error.data.session));
        }
    },
});
const isReset = await until("the new identity", async () => {
    const status = await bob.getCrypto().getUserVerificationStatus(again.getUserId());
    return status.wasCrossSigningVerified() && !status.isCrossSigningVerified();
});

process.stdout.write(
    JSON.stringify({
        backedUp: backup.count,
        restored: restored.imported,
        signedByOwner: device.crossSigningVerified,
        emoji,
        devices,
        isAsked,
        isReset,
    }),
);
process.exit(0);
