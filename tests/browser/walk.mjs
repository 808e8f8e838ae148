// Walks through examples/browser in a real Chromium, with the providers of provider.mjs.
//
// PAGE, SERVICE and PROVIDER say where they are, CHROMIUM which program it is. Fails with what does not hold; else
// prints, as JSON, what nobody may have written down. Ends, and Chromium with it, when its standard input does.

import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';

const { PAGE, SERVICE, PROVIDER, CHROMIUM, SCREENSHOTS } = process.env;
const REFRESH = '__Secure-portcullis-refresh';
const FLOW = '__Host-portcullis-browser';
const TOKEN = /eyJ[\w-]+\.eyJ/;

process.stdin.on('end', () => process.exit(1)).resume();
const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: ['--no-first-run', '--disable-gpu', '--disable-quic', '--disable-sync'],
});

// Tokens and codes, wherever they were seen.
const secrets = new Set();

// One person's browser: its own cookies, and its own sessions at the providers.
class Person {
  static async arrive(login) {
    const person = new Person();
    person.login = login;
    // What the browser says of our page when something is asked for and refused, and what is expected of that.
    person.complaints = [];
    person.context = await browser.newContext();
    person.context.setDefaultTimeout(20_000);
    // The providers' pages ask for a font of the internet; ours asks for nothing.
    await person.context.route((url) => !['localhost', '127.0.0.1'].includes(url.hostname), (route) => {
      if (route.request().frame().url().startsWith(PAGE)) person.complaints.push(`it asks ${route.request().url()}`);
      return route.abort();
    });
    person.context.on('request', (request) => {
      const url = new URL(request.url());
      if (TOKEN.test(request.url())) person.complaints.push(`a token in ${request.url()}`);
      if (url.searchParams.has('code')) secrets.add(url.searchParams.get('code'));
    });
    person.context.on('response', async (response) => {
      if (!response.url().startsWith(`${SERVICE}/auth/`) || !response.ok()) return;
      const tokens = await response.json().catch(() => null);
      if (!tokens?.access_token) return;
      secrets.add(tokens.access_token);
      if ('refresh_token' in tokens) person.complaints.push(`a refresh token in the body of ${response.url()}`);
    });
    person.context.on('console', (message) => {
      const isOurs = message.page()?.url().startsWith(PAGE);
      if (isOurs && ['error', 'warning'].includes(message.type())) person.complaints.push(message.text());
    });
    person.context.on('weberror', (error) => person.complaints.push(String(error.error())));
    return person;
  }

  // A tab with the page in it.
  async open(url = PAGE) {
    const tab = await this.context.newPage();
    await tab.goto(url);
    return tab;
  }

  async cookie(name) {
    const cookie = (await this.context.cookies()).find((found) => found.name === name);
    if (cookie) secrets.add(cookie.value);
    return cookie;
  }

  // Nothing was said but what is expected, in any order.
  hears(...expected) {
    const heard = this.complaints.splice(0);
    const missing = expected.filter((what) => !heard.some((text) => what.test(text)));
    const surprising = heard.filter((text) => !expected.some((what) => what.test(text)));
    assert.deepEqual({ missing, surprising }, { missing: [], surprising: [] });
  }

  async leave() {
    await this.context.close();
  }
}

const button = (tab, name) => tab.getByRole('button', { name, exact: true });

// From the page to the provider's own.
async function begin(tab, provider) {
  await button(tab, `Sign in with ${provider}`).click();
  await tab.waitForURL(`${PROVIDER}/**/interaction/*`);
}

// What somebody does at the provider: their name, any password, and yes.
async function consent(tab, login) {
  await tab.getByPlaceholder('Enter any login').fill(login);
  await tab.getByPlaceholder('and password').fill('any');
  await button(tab, 'Sign-in').click();
  await button(tab, 'Continue').click();
}

async function isSignedIn(tab, name, email) {
  await tab.waitForURL(PAGE);
  await button(tab, 'Sign out').waitFor();
  assert.equal(await tab.locator('#name').textContent(), name);
  assert.equal(await tab.locator('#email').textContent(), email);
  const user = JSON.parse(await tab.locator('#profile').textContent());
  assert.deepEqual([user.full_name, user.email, user.email_verified, user.roles], [name, email, true, ['viewer']]);
  assert.equal(await tab.getByRole('alert').count(), 0);
  return user;
}

async function isSignedOut(tab) {
  await button(tab, 'Sign in with Okta').waitFor();
  assert.equal(await button(tab, 'Sign out').count(), 0);
  assert.equal(await tab.getByText('GET /auth/me').isVisible(), false);
}

async function isTold(tab, text) {
  await tab.getByRole('alert').waitFor();
  assert.match(await tab.getByRole('alert').textContent(), text);
  assert.equal(tab.url(), PAGE);
}

// What a script on the page could take away.
async function nothingIsKept(tab) {
  const kept = await tab.evaluate(() => ({
    url: location.href, cookies: document.cookie, name: window.name, history: JSON.stringify(history.state),
    local: { ...localStorage }, session: { ...sessionStorage },
  }));
  const { local, ...rest } = kept;
  assert.deepEqual(rest, { url: PAGE, cookies: '', name: '', history: 'null', session: {} });
  assert.deepEqual(Object.keys(local), ['signed-in-since']);
  assert.ok(!Number.isNaN(Date.parse(local['signed-in-since'])), local['signed-in-since']);
}

const statusOf = async (path, token) =>
  (await fetch(SERVICE + path, { headers: { authorization: `Bearer ${token}` } })).status;

// Clicks, and gives the tokens that the service answers with.
async function tokensAfter(tab, path, action) {
  const [answer] = await Promise.all([tab.waitForResponse(SERVICE + path), action()]);
  assert.equal(answer.status(), 200);
  return answer.json();
}

const walks = {
  async 'a sign-in, from the page to /auth/me and out again'() {
    const jane = await Person.arrive('jane');
    const tab = await jane.open();
    await isSignedOut(tab);
    await begin(tab, 'Okta');
    // Lax, because the provider sends the browser back from its own site.
    const { value: _value, expires: _expires, ...flow } = await jane.cookie(FLOW);
    assert.deepEqual(flow, {
      name: FLOW, domain: 'localhost', path: '/', httpOnly: true, secure: true, sameSite: 'Lax',
    });
    const first = await tokensAfter(tab, '/auth/oauth/exchange', () => consent(tab, jane.login));
    const user = await isSignedIn(tab, 'Jane Doe', 'jane@example.com');
    await nothingIsKept(tab);
    const { value, expires, ...refresh } = await jane.cookie(REFRESH);
    assert.deepEqual(refresh, {
      name: REFRESH, domain: 'localhost', path: '/auth', httpOnly: true, secure: true, sameSite: 'Strict',
    });
    assert.match(value, TOKEN);
    assert.ok(Math.abs(expires - Date.now() / 1000 - 7 * 24 * 3600) < 60, `${expires}`);
    // Loaded anew.
    await tab.reload();
    assert.equal((await isSignedIn(tab, 'Jane Doe', 'jane@example.com')).id, user.id);
    await nothingIsKept(tab);
    // The next pair.
    const before = (await jane.cookie(REFRESH)).value;
    const next = await tokensAfter(tab, '/auth/refresh', () => button(tab, 'Refresh the token').click());
    await tab.getByRole('status').filter({ hasText: 'new access token' }).waitFor();
    assert.notEqual(next.access_token, first.access_token);
    assert.notEqual((await jane.cookie(REFRESH)).value, before);
    await isSignedIn(tab, 'Jane Doe', 'jane@example.com');
    // Another tab needs no sign-in, and learns of the end.
    const other = await jane.open();
    await isSignedIn(other, 'Jane Doe', 'jane@example.com');
    await button(tab, 'Sign out').click();
    await tab.getByRole('status').filter({ hasText: 'signed out' }).waitFor();
    await isSignedOut(tab);
    await isSignedOut(other);
    assert.equal(await jane.cookie(REFRESH), undefined);
    assert.equal(await statusOf('/auth/me', next.access_token), 401);
    for (const tab of [...jane.context.pages()]) {
      await tab.reload();
      await isSignedOut(tab);
      assert.deepEqual(await tab.evaluate(() => [localStorage.length, sessionStorage.length]), [0, 0]);
    }
    // Nothing was refused on the way, and nobody was asked in vain.
    jane.hears();
    await jane.leave();
  },

  async 'each provider'() {
    for (const [provider, login] of [['Google', 'gale'], ['Microsoft', 'mika']]) {
      const person = await Person.arrive(login);
      const tab = await person.open();
      await begin(tab, provider);
      await consent(tab, login);
      await isSignedIn(tab, `${login[0].toUpperCase()}${login.slice(1)} Doe`, `${login}@example.com`);
      await nothingIsKept(tab);
      person.hears();
      await person.leave();
    }
  },

  async 'two tabs at once'() {
    const jane = await Person.arrive('jane');
    const tabs = [await jane.open(), await jane.open()];
    await begin(tabs[0], 'Okta');
    await begin(tabs[1], 'Google');
    // They end in another order than they began in, and as two users.
    await consent(tabs[1], 'gale');
    await isSignedIn(tabs[1], 'Gale Doe', 'gale@example.com');
    await consent(tabs[0], 'jane');
    await isSignedIn(tabs[0], 'Jane Doe', 'jane@example.com');
    // One cookie, one user.
    await tabs[1].locator('#name').filter({ hasText: 'Jane Doe' }).waitFor();
    await isSignedIn(tabs[1], 'Jane Doe', 'jane@example.com');
    for (const tab of tabs) {
      await nothingIsKept(tab);
      await tab.reload();
      await isSignedIn(tab, 'Jane Doe', 'jane@example.com');
    }
    jane.hears();
    await jane.leave();
  },

  async 'a no at the provider'() {
    const jane = await Person.arrive('jane');
    const tab = await jane.open();
    await begin(tab, 'Okta');
    await tab.getByRole('link', { name: 'Cancel' }).click();
    await isTold(tab, /cancelled/);
    await isSignedOut(tab);
    assert.equal(await jane.cookie(REFRESH), undefined);
    // The second try is not held up by the first.
    await begin(tab, 'Okta');
    await consent(tab, 'jane');
    await isSignedIn(tab, 'Jane Doe', 'jane@example.com');
    jane.hears();
    await jane.leave();
  },

  async 'an address that is another account’s'() {
    const jane = await Person.arrive('jane');
    const tab = await jane.open();
    await begin(tab, 'Google');
    await consent(tab, 'jane');
    await isTold(tab, /account/i);
    await isSignedOut(tab);
    assert.equal(await jane.cookie(REFRESH), undefined);
    jane.hears(/409/);
    await jane.leave();
  },

  async 'a code that the page has not asked for'() {
    const jane = await Person.arrive('jane');
    // Somebody else's sign-in, as a link in a message would be.
    const tab = await jane.open(`${PAGE}?code=${'A'.repeat(43)}&state=${'B'.repeat(43)}`);
    await isTold(tab, /not begun here/);
    await isSignedOut(tab);
    jane.hears();
    await jane.leave();
  },

  async 'a session that was ended elsewhere'() {
    const jane = await Person.arrive('jane');
    const tab = await jane.open();
    await begin(tab, 'Okta');
    const { access_token: token } = await tokensAfter(tab, '/auth/oauth/exchange', () => consent(tab, 'jane'));
    await isSignedIn(tab, 'Jane Doe', 'jane@example.com');
    const headers = { authorization: `Bearer ${token}` };
    assert.equal((await fetch(`${SERVICE}/auth/logout`, { method: 'POST', headers })).status, 204);
    await button(tab, 'Refresh the token').click();
    await isTold(tab, /has ended/);
    await isSignedOut(tab);
    await tab.reload();
    await isSignedOut(tab);
    jane.hears(/401/);
    await jane.leave();
  },

  async 'a cookie that is gone'() {
    const jane = await Person.arrive('jane');
    const tab = await jane.open();
    await begin(tab, 'Okta');
    await consent(tab, 'jane');
    await isSignedIn(tab, 'Jane Doe', 'jane@example.com');
    await jane.context.clearCookies({ name: REFRESH });
    await tab.reload();
    await isTold(tab, /has ended/);
    await isSignedOut(tab);
    jane.hears(/401/);
    await jane.leave();
  },

  async 'pages of others can’t use the cookie'() {
    const jane = await Person.arrive('jane');
    const tab = await jane.open();
    await begin(tab, 'Okta');
    await consent(tab, 'jane');
    await isSignedIn(tab, 'Jane Doe', 'jane@example.com');
    const before = await jane.cookie(REFRESH);
    // A page of another port is of the same site, so its browser sends the cookie; one of another site, so it does not.
    for (const origin of [PROVIDER.replace('127.0.0.1', 'localhost'), PROVIDER]) {
      const evil = await jane.context.newPage();
      await evil.goto(`${origin}/elsewhere`);
      for (const path of ['/auth/refresh', '/auth/logout']) {
        const outcome = await evil.evaluate(async (url) => {
          const answer = await fetch(url, { method: 'POST', credentials: 'include' }).catch((error) => error);
          return answer instanceof Error ? 'unreadable' : answer.status;
        }, SERVICE + path);
        assert.equal(outcome, 'unreadable', `${origin}: ${path}`);
      }
      await evil.close();
    }
    assert.deepEqual(await jane.cookie(REFRESH), before);
    await tab.reload();
    await isSignedIn(tab, 'Jane Doe', 'jane@example.com');
    jane.hears();
    await jane.leave();
  },
};

try {
  console.error(`Chromium ${browser.version()}`);
  for (const [what, walk] of Object.entries(walks)) {
    const begun = Date.now();
    await walk().catch(async (error) => {
      const tabs = browser.contexts().flatMap((context) => context.pages());
      for (const [n, tab] of tabs.entries()) {
        console.error(`tab ${n}: ${tab.url()}: ${await tab.innerText('body').catch(() => '')}`);
        await tab.screenshot({ path: `${SCREENSHOTS}/${n}.png` }).catch(() => {});
      }
      throw new Error(`${what} (pictures of the tabs are in ${SCREENSHOTS})`, { cause: error });
    });
    console.error(`${what}: ${Date.now() - begun} ms`);
  }
  console.log(JSON.stringify([...secrets]));
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  await browser.close();
}
process.exit();
