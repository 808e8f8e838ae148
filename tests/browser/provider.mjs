// Three OpenID providers on one port, by npm's oidc-provider: it stands where Google, Microsoft and Okta would, with
// their issuers' shape and their own claims. Any name and any password sign in.
//
// PUBLIC_URL is the service's; PORT is free to be any. Prints the service's variables that name it, in one line, and
// ends when its standard input does.

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const publicUrl = process.env.PUBLIC_URL ?? 'http://localhost:8080';
const tenant = '0f2f5a4e-8c1b-4c57-9d0e-3a6b7c8d9e0f';
const secret = () => randomBytes(24).toString('base64url');
const key = (kid) => {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid, use: 'sig' };
};

// What each says of an account beside `sub`, and whether the ID token says it too: Okta's is thin, and the service
// has to ask userinfo.
const kinds = {
  google: { path: '/google', isThin: false, claims: (login) => ({ email_verified: true, name: fullName(login) }) },
  microsoft: {
    path: `/${tenant}/v2.0`,
    isThin: false,
    claims: (login) => ({ ver: '2.0', tid: tenant, oid: objectId(login), xms_edov: true, name: fullName(login) }),
  },
  okta: { path: '/oauth2/default', isThin: true, claims: (login) => ({ email_verified: true, name: fullName(login) }) },
};
const fullName = (login) => `${login[0].toUpperCase()}${login.slice(1)} Doe`;
const objectId = (login) => `00000000-0000-4000-8000-${Buffer.from(login).toString('hex').padEnd(12, '0').slice(0, 12)}`;

const server = createServer();
server.listen(Number(process.env.PORT ?? 0), '127.0.0.1');
await once(server, 'listening');
const base = `http://127.0.0.1:${server.address().port}`;

const providers = Object.entries(kinds).map(([kind, { path, isThin, claims }]) => {
  const client = { client_id: `portcullis-at-${kind}`, client_secret: secret() };
  const provider = new Provider(base + path, {
    clients: [{ ...client, redirect_uris: [`${publicUrl}/auth/oauth/${kind}/callback`] }],
    claims: {
      openid: ['sub', 'ver', 'tid', 'oid'],
      email: ['email', 'email_verified', 'xms_edov'],
      profile: ['name', 'preferred_username'],
    },
    conformIdTokenClaims: isThin,
    findAccount: (_context, login) => ({
      accountId: login,
      claims: () => ({
        sub: login, email: `${login}@example.com`, preferred_username: `${login}@example.com`, ...claims(login),
      }),
    }),
    jwks: { keys: [key(`${kind}-1`)] },
    pkce: { required: () => true },
    // One host, three providers.
    cookies: {
      keys: [secret()],
      names: { session: `${kind}_session`, interaction: `${kind}_interaction`, resume: `${kind}_resume` },
    },
  });
  for (const event of ['server_error', 'authorization.error', 'grant.error', 'userinfo.error']) {
    provider.on(event, (_context, error) => console.error(kind, event, error));
  }
  return { kind, path, client, answer: provider.callback() };
});

server.on('request', (request, response) => {
  const found = providers.find(({ path }) => request.url.startsWith(`${path}/`));
  if (!found) return response.setHeader('content-type', 'text/html').end('<!doctype html><title>Elsewhere</title>');
  // What it needs to know of where it is mounted.
  request.originalUrl = request.url;
  request.url = request.url.slice(found.path.length);
  return found.answer(request, response);
});

const { google, microsoft, okta } = Object.fromEntries(providers.map(({ kind, client }) => [kind, client]));
const settings = {
  OAUTH_GOOGLE_ISSUER: base + kinds.google.path,
  OAUTH_GOOGLE_CLIENT_ID: google.client_id,
  OAUTH_GOOGLE_CLIENT_SECRET: google.client_secret,
  OAUTH_MICROSOFT_AUTHORITY: base,
  OAUTH_MICROSOFT_TENANTS: tenant,
  OAUTH_MICROSOFT_CLIENT_ID: microsoft.client_id,
  OAUTH_MICROSOFT_CLIENT_SECRET: microsoft.client_secret,
  OAUTH_OKTA_DOMAIN: 'okta.example.com',
  OAUTH_OKTA_BASE_URL: base,
  OAUTH_OKTA_CLIENT_ID: okta.client_id,
  OAUTH_OKTA_CLIENT_SECRET: okta.client_secret,
};
console.log(Object.entries(settings).map((setting) => setting.join('=')).join(' '));
process.stdin.on('end', () => process.exit(0)).resume();
