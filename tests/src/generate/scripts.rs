//! The scripts and functions that are called: fixed texts, since a random one would mostly be an error.

/// Scripts, each with its SHA-1; the differential test asks a server whether that is right.
pub const SCRIPTS: &[(&str, &str)] = &[
    ("return {KEYS, ARGV}", "25798f6e367278f6dedc9713a90c526c253106f3"),
    ("return redis.call('GET', KEYS[1])", "d3c21d0c2b9ca22f82737626a27bcaf5d288f99f"),
    (
        "return redis.call('SET', KEYS[1], ARGV[1] or 'set by a script')",
        "caea5cf41c3e6d5104dd3739131ed1de9f9246d8",
    ),
    (
        "return {redis.call('TYPE', KEYS[1]), redis.pcall('INCR', KEYS[1])}",
        "5f58297859147c7e189496e4b3f1b7cbb569546a",
    ),
    (
        "redis.setresp(3) return redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')",
        "3b99d1213c1e79149896c2c1786f0122328cad49",
    ),
    (
        "for _, key in ipairs(KEYS) do redis.call('RPUSH', key, ARGV[1] or 'pushed') end return #KEYS",
        "2075fb18b16c7721e4752ed18635ba9dab910455",
    ),
    (
        "if KEYS[1] then return redis.call('LRANGE', KEYS[1], 0, -1) end return redis.error_reply('MINE no key')",
        "7d8caa19000521bc57faafc2333f3f0687c6778f",
    ),
    (
        "local key = KEYS[1] return redis.call('STRLEN', key) + 0.9",
        "5cd532db47b7eb2ae381eb73b0499e6a7843e6e6",
    ),
    ("return {1, 2.7, 'three', false, 4, {5, {6}}, nil, 7}", "69b00659d547c51077142971e3d691e78b3ce74b"),
    ("return redis.status_reply('FINE')", "df56436056da06deffb008d5af6ce551b5d0c48b"),
    (
        "local n = 0 for i = 1, #ARGV do n = n + (tonumber(ARGV[i]) or 0) end return tostring(n)",
        "a70ce6c2fffbd29b203634af52eac613c9c36468",
    ),
    ("return redis.call('NOSUCH', KEYS[1])", "acbd82eaa95645cdb559114bde17841580fa0f8c"),
    (
        "return {redis.sha1hex(ARGV[1] or ''), cjson.encode({ARGV[1] or 'x'})}",
        "2fafd5f5df9ee85f2aa063a9a5663365cb060798",
    ),
    // This one can't be compiled, and is never known.
    ("a syntax error", "0000000000000000000000000000000000000000"),
];

/// Libraries of functions by name.
pub const LIBRARIES: &[(&str, &str)] = &[
    (
        "one",
        "#!lua name=one
redis.register_function('first', function(keys, args) return {keys[1] or false, args[1] or false} end)
redis.register_function{function_name='reader', flags={'no-writes'},
    callback=function(keys, args) return redis.call('GET', keys[1]) end}",
    ),
    (
        "two",
        "#!lua name=two
redis.register_function('arguments', function(keys, args) return {#keys, #args, keys, args} end)
redis.register_function('store', function(keys, args) return redis.call('SET', keys[1], args[1]) end)",
    ),
    ("broken", "#!lua name=broken\nthis is not Lua"),
];

/// What FUNCTION DUMP of Redis 7.0 said when it had one library, `restored`.
pub const FUNCTION_DUMP: &[u8] = b"\xf5\xc3@W@e\x13#!lua name=restored\n \x03\x15is.register_function('\xc0!\x04_f', \xe0\x00\x16\x12keys, args) return \xe0\x00)\x05' end)\n\x00c\xb9\\A\x1e5%i";
