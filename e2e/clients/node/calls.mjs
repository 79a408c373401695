// What the openai client of Node.js gets, as one JSON object. Reads {url, key, story, words, prompt, count}.
import { readFileSync } from 'node:fs';
import OpenAI, { AuthenticationError, NotFoundError } from 'openai';

const given = JSON.parse(readFileSync(0, 'utf8'));
const told = { baseURL: `${given.url}/v1`, maxRetries: 0, timeout: 60_000 };
const client = new OpenAI({ ...told, apiKey: given.key });
const wish = { model: given.story, max_tokens: given.count, temperature: 0 };
const messages = [{ role: 'user', content: given.prompt }];

const models = [];
for await (const model of client.models.list()) models.push(model.id);

const vectors = await client.embeddings.create({ model: given.words, input: [given.prompt, 'tax'] });
const completion = await client.completions.create({ ...wish, prompt: given.prompt });
const chat = await client.chat.completions.create({ ...wish, messages });

const pieces = [];
let usage = null;
const options = { stream: true, stream_options: { include_usage: true } };
for await (const chunk of await client.chat.completions.create({ ...wish, messages, ...options })) {
  if (chunk.choices[0]?.delta?.content) pieces.push(chunk.choices[0].delta.content);
  usage = chunk.usage ?? usage;
}

async function refusal(kind, call) {
  try {
    await call();
  } catch (error) {
    return error instanceof kind ? { status: error.status, code: error.code } : String(error);
  }
  return 'no error';
}

const stranger = new OpenAI({ ...told, apiKey: 'sk-nobody' });
console.log(JSON.stringify({
  models,
  dimensions: vectors.data.map((one) => one.embedding.length),
  completion: completion.choices[0].text,
  chat: chat.choices[0].message.content,
  pieces,
  usage,
  badKey: await refusal(AuthenticationError, () => stranger.models.list()),
  unknown: await refusal(NotFoundError, () => client.embeddings.create({ model: 'nobody', input: 'x' })),
}));
