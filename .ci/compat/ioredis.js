// ioredis with its defaults. Usage: node ioredis.js HOST PORT [cluster]
const Redis = require('ioredis');
const [host, port, mode] = [process.argv[2], Number(process.argv[3]), process.argv[4]];
const check = (got, want, what) => {
  if (JSON.stringify(got) !== JSON.stringify(want)) throw new Error(`${what}: got ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
};
async function main() {
  const redis = mode === 'cluster' ? new Redis.Cluster([{ host, port }]) : new Redis({ host, port });
  let failed = null;
  redis.on('error', (error) => { failed = error; });
  check(await redis.set('io:a', '1'), 'OK', 'SET');
  check(await redis.get('io:a'), '1', 'GET');
  check(await redis.incrby('io:a', 41), 42, 'INCRBY');
  await redis.hset('io:h', { f: 'v', g: 'w' });
  check(await redis.hgetall('io:h'), { f: 'v', g: 'w' }, 'HGETALL');
  await redis.del('io:z');
  await redis.del('io:l');
  await redis.zadd('io:z', 1.5, 'a', 2, 'b');
  check(await redis.zrange('io:z', 0, -1, 'WITHSCORES'), ['a', '1.5', 'b', '2'], 'ZRANGE');
  await redis.rpush('io:l', 'x', 'y');
  check(await redis.lrange('io:l', 0, -1), ['x', 'y'], 'LRANGE');
  const many = await Promise.all(Array.from({ length: 2000 }, (_, i) => redis.set(`io:k${i}`, i).then(() => redis.get(`io:k${i}`))));
  many.forEach((got, i) => check(got, String(i), `key ${i}`));
  if (mode !== 'cluster') {
    check(await redis.mget('io:k1', 'io:none', 'io:k3'), ['1', null, '3'], 'MGET');
    const replies = await redis.pipeline().set('io:p', 1).incr('io:p').get('io:p').exec();
    check(replies, [[null, 'OK'], [null, 2], [null, '2']], 'pipeline');
    const buffer = Buffer.from([0, 1, 2, 13, 10, 255]);
    await redis.set('io:b', buffer);
    check([...(await redis.getBuffer('io:b'))], [...buffer], 'binary');
    const found = new Set();
    for await (const keys of redis.scanStream({ match: 'io:k*', count: 100 })) keys.forEach((k) => found.add(k));
    check(found.size, 2000, 'scanStream');
  }
  try {
    await redis.hget('io:a', 'f');
    throw new Error('a wrong type must be an error');
  } catch (error) {
    if (!error.message.startsWith('WRONGTYPE')) throw error;
  }
  await redis.quit();
  if (failed) throw failed;
}
main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
