-- Stands in front of a namespaced tenant's script, on its first line, so that the script sees the names that its
-- author wrote: KEYS without the prefix, and redis.call and redis.pcall that put it before the keys of a command and
-- take it from names in replies. The prefix comes as the last of ARGV. What the script may reach is not decided here
-- but by the tenant's user at the servers: whoever goes around this meets NOPERM.
-- Lines are joined by spaces: comments have lines of their own.
local KEYS, redis = (function(keys, real, argv)
local prefix = table.remove(argv)
local length = #prefix
local function starts(value) return type(value) == 'string' and string.sub(value, 1, length) == prefix end
-- A name as the author knows it, at any depth of a reply.
local function bare(value)
if starts(value) then return string.sub(value, length + 1) end
if type(value) == 'table' then for at, inner in pairs(value) do value[at] = bare(inner) end end
return value
end
-- An error's text may hold names anywhere.
local function plain(text)
local from, to = string.find(text, prefix, 1, true)
while from do
text = string.sub(text, 1, from - 1) .. string.sub(text, to + 1)
from, to = string.find(text, prefix, from, true)
end
return text
end
local function is(name, names) return string.find(names, ' ' .. name .. ' ', 1, true) end
-- A name with the prefix, written as the servers write numbers. What they take for none is left to them to refuse.
local function prefixed(value)
if type(value) == 'number' then return prefix .. string.format('%.17g', value) end
if type(value) == 'string' then return prefix .. value end
return value
end
local function full(args, first, last, step)
for at = first, math.min(last, args.n), step or 1 do args[at] = prefixed(args[at]) end
end
-- Behind the count at `at` stand as many keys.
local function counted(args, at, step)
full(args, at + 1, at + (tonumber(args[at]) or 0) * (step or 1), step)
end
local function behind(args, from, words)
for at = from, args.n - 1 do
local word = string.lower(tostring(args[at]))
if is(word, words) and args[at + 1] ~= '#' then args[at + 1] = prefixed(args[at + 1]) end
end
end
local function streams(args)
for at = 2, args.n do
if string.lower(tostring(args[at])) == 'streams' then
full(args, at + 1, at + math.floor((args.n - at) / 2))
return
end
end
end
-- Puts the prefix before the keys of a command; whether its reply may hold names.
local function rewrite(args)
local name = string.lower(tostring(args[1]))
if is(name, ' get set hget hset incr decr expire zadd lpush rpush xadd sadd ') then full(args, 2, 2)
elseif is(name, ' del unlink exists touch mget pfcount pfmerge sinter sunion sdiff sinterstore sunionstore sdiffstore ') then full(args, 2, args.n)
elseif is(name, ' rename renamenx smove lmove blmove rpoplpush brpoplpush lcs copy geosearchstore zrangestore ') then full(args, 2, 3)
elseif is(name, ' mset msetnx ') then full(args, 2, args.n, 2)
elseif is(name, ' msetex ') then counted(args, 2, 2)
elseif is(name, ' sintercard zinter zunion zdiff zintercard ') then counted(args, 2)
elseif is(name, ' zinterstore zunionstore zdiffstore ') then full(args, 2, 2) counted(args, 3)
elseif is(name, ' bitop ') then full(args, 3, args.n)
elseif is(name, ' object xinfo xgroup memory ') then full(args, 3, 3)
elseif is(name, ' sort sort_ro ') then full(args, 2, 2) behind(args, 3, ' by get store ')
elseif is(name, ' georadius georadiusbymember ') then full(args, 2, 2) behind(args, 6, ' store storedist ')
elseif is(name, ' lmpop zmpop ') then counted(args, 2) return true
elseif is(name, ' blmpop bzmpop ') then counted(args, 3) return true
elseif is(name, ' blpop brpop bzpopmin bzpopmax ') then full(args, 2, args.n - 1) return true
elseif is(name, ' xread xreadgroup ') then streams(args) return true
elseif not is(name, ' ping echo time ') then full(args, 2, 2)
end
end
local own = setmetatable({}, {__index = real})
function own.pcall(...)
local args = {n = select('#', ...), ...}
local named = rewrite(args)
local reply = real.pcall(unpack(args, 1, args.n))
if type(reply) == 'table' and reply.err then reply.err = plain(reply.err) return reply end
if named then return bare(reply) end
return reply
end
function own.call(...)
local args = {n = select('#', ...), ...}
if rewrite(args) then return bare(real.call(unpack(args, 1, args.n))) end
return real.call(unpack(args, 1, args.n))
end
local names = {}
for at, key in ipairs(keys) do names[at] = bare(key) end
return names, own
end)(KEYS, redis, ARGV)
