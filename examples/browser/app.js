// Sign-in by a provider, for a page without a server of its own. No token is ever in a URL or in storage: the
// access token is in memory, and the refresh token in a cookie that no script can read.

const service = document.querySelector('meta[name=portcullis]').content;
const element = (id) => document.getElementById(id);
let accessToken = null;

// RFC 7636: 32 random bytes, and their SHA-256, as base64url.
const base64url = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
const randomText = () => base64url(crypto.getRandomValues(new Uint8Array(32)));
const challengeOf = async (verifier) =>
  base64url(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(verifier)));

// This page, as it stands in OAUTH_REDIRECT_ALLOWLIST.
const page = () => location.origin + location.pathname;

async function ask(method, path, body) {
  const headers = {};
  if (accessToken) headers.authorization = `Bearer ${accessToken}`;
  if (body) headers['content-type'] = 'application/json';
  // With the cookie, which the service takes from allowed origins only.
  const answer = await fetch(service + path, {
    method, headers, credentials: 'include', body: body && JSON.stringify(body),
  });
  const text = await answer.text();
  const json = text ? JSON.parse(text) : null;
  if (!answer.ok) throw new Error(json?.detail ?? `${method} ${path}: ${answer.status}`);
  return json;
}

async function begin(provider) {
  const verifier = randomText();
  const state = randomText();
  // Until the browser is back: it leaves this page.
  sessionStorage.setItem('sign-in', JSON.stringify({ verifier, state }));
  const query = new URLSearchParams({
    redirect_uri: page(), code_challenge: await challengeOf(verifier), code_challenge_method: 'S256', state,
  });
  location.assign(`${service}/auth/oauth/${provider}/authorize?${query}`);
}

// Whether the browser has come back from a sign-in that this page began.
async function end() {
  const query = new URLSearchParams(location.search);
  const begun = JSON.parse(sessionStorage.getItem('sign-in') ?? 'null');
  if (!query.has('code') && !query.has('error')) return false;
  sessionStorage.removeItem('sign-in');
  history.replaceState(null, '', page());
  if (!begun || query.get('state') !== begun.state) throw new Error('This sign-in was not begun here.');
  if (query.has('error')) throw new Error(query.get('error_description') ?? query.get('error'));
  const tokens = await ask('POST', '/auth/oauth/exchange', {
    code: query.get('code'), code_verifier: begun.verifier, use_cookie: true,
  });
  accessToken = tokens.access_token;
  return true;
}

async function refresh() {
  accessToken = null;
  accessToken = (await ask('POST', '/auth/refresh')).access_token;
}

async function show() {
  element('signed-out').hidden = accessToken !== null;
  element('signed-in').hidden = accessToken === null;
  if (accessToken === null) return;
  const user = await ask('GET', '/auth/me');
  element('username').textContent = user.username;
  element('profile').textContent = JSON.stringify(user, null, 2);
}

async function attempt(action) {
  element('problem').hidden = true;
  try {
    await action();
    await show();
  } catch (error) {
    element('problem').textContent = error.message;
    element('problem').hidden = false;
    await show().catch(() => {});
  }
}

for (const button of document.querySelectorAll('[data-provider]')) {
  button.addEventListener('click', () => attempt(() => begin(button.dataset.provider)));
}
element('refresh').addEventListener('click', () => attempt(refresh));
element('sign-out').addEventListener('click', () => attempt(async () => {
  await ask('POST', '/auth/logout');
  accessToken = null;
}));

await attempt(async () => {
  // A page that was loaded anew is still signed in, if its cookie lives.
  if (!(await end())) await refresh().catch(() => {});
});
