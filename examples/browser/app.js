// Sign-in by a provider, for a page without a server of its own. No token is ever in a URL or in storage: the
// access token is in memory, and the refresh token in a cookie that no script can read.

const service = document.querySelector('meta[name=portcullis]').content;
const element = (id) => document.getElementById(id);
let accessToken = null;

// --- What is asked of the service ---

class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function send(method, path, { body, token } = {}) {
  const headers = {};
  if (token) headers.authorization = `Bearer ${token}`;
  if (body) headers['content-type'] = 'application/json';
  let answer;
  try {
    // With the cookie, which the service takes from allowed origins only.
    answer = await fetch(service + path, { method, headers, credentials: 'include', body: body && JSON.stringify(body) });
  } catch {
    throw new Error(`${service} does not answer, or its CORS_ALLOWED_ORIGINS has no ${location.origin}.`);
  }
  // Nothing, or what stands between us has written.
  const json = await answer.json().catch(() => null);
  if (!answer.ok) throw new Refusal(answer.status, json?.detail ?? `${method} ${path}: ${answer.status}`);
  return json;
}

// As whoever is signed in. An access token lives for half an hour: with the next one it is asked again.
async function ask(method, path, body) {
  try {
    return await send(method, path, { body, token: accessToken });
  } catch (error) {
    if (error.status !== 401) throw error;
    await refresh();
    return send(method, path, { body, token: accessToken });
  }
}

// --- Who is signed in ---

// Since when somebody is, for all tabs. A script can't see the cookie: this saves asking where there is none.
const SINCE = 'signed-in-since';

function forget() {
  accessToken = null;
  localStorage.removeItem(SINCE);
}

async function refresh() {
  try {
    accessToken = (await send('POST', '/auth/refresh')).access_token;
  } catch (error) {
    if (error.status !== 401) throw error;
    forget();
    throw new Refusal(401, 'Your sign-in has ended.');
  }
}

async function signOut() {
  try {
    await ask('POST', '/auth/logout');
  } catch (error) {
    // It had ended already.
    if (error.status !== 401) throw error;
  }
  forget();
}

// --- To the provider, and back ---

// RFC 7636: 32 random bytes, and their SHA-256, as base64url.
const base64url = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
const randomText = () => base64url(crypto.getRandomValues(new Uint8Array(32)));
const challengeOf = async (verifier) =>
  base64url(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(verifier)));

// This page, as it stands in OAUTH_REDIRECT_ALLOWLIST.
const page = () => location.origin + location.pathname;

async function begin(provider) {
  const verifier = randomText();
  const state = randomText();
  // Until the browser is back in this tab: it leaves this page.
  sessionStorage.setItem('sign-in', JSON.stringify({ verifier, state }));
  const query = new URLSearchParams({
    redirect_uri: page(), code_challenge: await challengeOf(verifier), code_challenge_method: 'S256', state,
  });
  location.assign(`${service}/auth/oauth/${provider}/authorize?${query}`);
}

// Whether the browser has come back from a sign-in that this page began.
async function end() {
  const query = new URLSearchParams(location.search);
  if (!query.has('code') && !query.has('error')) return false;
  const begun = JSON.parse(sessionStorage.getItem('sign-in') ?? 'null');
  sessionStorage.removeItem('sign-in');
  history.replaceState(null, '', page());
  if (!begun || query.get('state') !== begun.state) throw new Error('This sign-in was not begun here.');
  if (query.get('error') === 'access_denied') throw new Error('The sign-in was cancelled, or the provider refused it.');
  if (query.has('error')) throw new Error(query.get('error_description') ?? query.get('error'));
  const tokens = await send('POST', '/auth/oauth/exchange', {
    body: { code: query.get('code'), code_verifier: begun.verifier, use_cookie: true },
  });
  accessToken = tokens.access_token;
  localStorage.setItem(SINCE, new Date().toISOString());
  return true;
}

// --- The page ---

async function show() {
  const user = accessToken && (await ask('GET', '/auth/me'));
  element('signed-out').hidden = Boolean(user);
  element('signed-in').hidden = !user;
  if (!user) return;
  element('name').textContent = user.full_name ?? user.username;
  element('email').textContent = user.email ?? 'no address known';
  element('profile').textContent = JSON.stringify(user, null, 2);
}

// Shows what an action has come to: what it says, or why it failed.
async function attempt(action) {
  element('problem').hidden = true;
  element('news').textContent = 'One moment …';
  let news = '';
  try {
    news = (await action()) ?? '';
    await show();
  } catch (error) {
    element('problem').textContent = error.message;
    element('problem').hidden = false;
    // What can't be shown is not signed in, as far as anybody can see.
    await show().catch(() => {
      element('signed-out').hidden = false;
      element('signed-in').hidden = true;
    });
  }
  element('news').textContent = news;
}

for (const button of document.querySelectorAll('[data-provider]')) {
  button.addEventListener('click', () => attempt(() => begin(button.dataset.provider)));
}
element('refresh').addEventListener('click', () => attempt(async () => {
  await refresh();
  return 'There is a new access token, and a new refresh token in the cookie.';
}));
element('sign-out').addEventListener('click', () => attempt(async () => {
  await signOut();
  return 'You have signed out.';
}));

// Another tab has signed in or out: they share the cookie, so all are whoever that one is.
addEventListener('storage', (event) => {
  if (event.key === SINCE) attempt(async () => (event.newValue ? refresh() : forget()));
});

// A page that is loaded anew is still signed in, if its cookie lives.
await attempt(async () => {
  if (!(await end()) && localStorage.getItem(SINCE)) await refresh();
});
