%% @doc The HTTP requests that nobody gets through: what two servers could read in two ways, or what no
%% server should read at all.
-module(megaphone_test_bad_http).

-export([requests/0, check/2]).

-type row() :: {Name :: string(), Bytes :: iodata(), Status :: 400..599,
                %% What the answer's text says, as a regular expression.
                Text :: string()}.

-define(GET, "GET /echo HTTP/1.1\r\nHost: localhost\r\n").
-define(POST, "POST /echo HTTP/1.1\r\nHost: localhost\r\n").
-define(CHUNKED, "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n").

%% @doc Each request with the status it gets and what the text must name.
-spec requests() -> [row()].
requests() ->
    framing() ++ lines() ++ request_lines() ++ hosts() ++ sizes() ++ chunks() ++ other_protocols().

%% @doc Checks an answer against its row: status, text, and that the connection is said to close.
-spec check(row(), megaphone_test_http:response() | {error, term()}) -> ok | {error, term()}.
check({Name, _, Status, Text}, #{status := Status, body := Body} = Response) ->
    case {re:run(Body, Text), megaphone_test_http:header(<<"connection">>, Response)} of
        {{match, _}, <<"close">>} -> ok;
        {nomatch, _} -> {error, {Name, expected_text, Text, got, Body}};
        {_, Connection} -> {error, {Name, expected_connection_close, got, Connection}}
    end;
check({Name, _, Status, _}, Other) ->
    {error, {Name, expected_status, Status, got, Other}}.

%% Requests that disagree about their own length (RFC 9112, 6.3).
framing() ->
    [{"two lengths", [?POST, "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"],
      400, "two Content-Length fields disagree"},
     {"the same length twice", [?POST, "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"],
      400, "Content-Length is repeated"},
     {"length and chunked",
      [?POST, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
      400, "Content-Length and Transfer-Encoding are both there"},
     {"chunked and length",
      [?POST, "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"],
      400, "Content-Length and Transfer-Encoding are both there"},
     {"a signed length", [?POST, "Content-Length: +3\r\n\r\nabc"], 400, "plain decimal number"},
     {"a negative length", [?POST, "Content-Length: -3\r\n\r\nabc"], 400, "plain decimal number"},
     {"a list of lengths", [?POST, "Content-Length: 3, 3\r\n\r\nabc"], 400, "plain decimal number"},
     {"a hexadecimal length", [?POST, "Content-Length: 0x3\r\n\r\nabc"],
      400, "plain decimal number"},
     {"an empty length", [?POST, "Content-Length:\r\n\r\n"], 400, "plain decimal number"},
     {"a length past 64 bits", [?POST, "Content-Length: 18446744073709551616\r\n\r\n"],
      400, "does not fit 64 bits"},
     {"chunked twice", [?POST, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"],
      400, "Transfer-Encoding is repeated"},
     {"another coding", [?POST, "Transfer-Encoding: gzip, chunked\r\n\r\n"], 501, "not supported"},
     {"identity", [?POST, "Transfer-Encoding: identity\r\n\r\n"], 501, "not supported"},
     {"chunked in HTTP/1.0",
      "POST /echo HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      400, "HTTP/1.0 has no Transfer-Encoding"}].

%% Lines and header fields (RFC 9112, 2.2 and 5).
lines() ->
    [{"bare LF after the request line", "GET /echo HTTP/1.1\nHost: localhost\r\n\r\n",
      400, "line feed without carriage return"},
     {"bare LF after a header", "GET /echo HTTP/1.1\r\nHost: localhost\nA: b\r\n\r\n",
      400, "line feed without carriage return"},
     {"bare LF at the end", [?GET, "\n"], 400, "line feed without carriage return"},
     {"bare CR in a value", [?GET, "A: b\rc\r\n\r\n"], 400, "carriage return without line feed"},
     {"a folded header", [?GET, "A: b\r\n c\r\n\r\n"], 400, "line folding"},
     {"space before the colon", [?GET, "A : b\r\n\r\n"], 400, "whitespace before the colon.*\"A\""},
     {"tab before the colon", [?GET, "Content-Length\t: 3\r\n\r\n"],
      400, "whitespace before the colon"},
     {"no colon", [?GET, "nonsense\r\n\r\n"], 400, "no colon"},
     {"no name", [?GET, ": b\r\n\r\n"], 400, "header name"},
     {"a space in a name", [?GET, "A b: c\r\n\r\n"], 400, "0x20.*header name"},
     {"NUL in a value", [?GET, "A: b\0c\r\n\r\n"], 400, "0x00 in the value of header \"A\""},
     {"ESC in a value", [?GET, "A: \e[31m\r\n\r\n"], 400, "0x1b in the value of header \"A\""},
     {"DEL in a value", [?GET, "A: b\d\r\n\r\n"], 400, "0x7f in the value of header \"A\""}].

%% RFC 9112, 3.
request_lines() ->
    [{"no method", " /echo HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "method"},
     {"no token as method", "G(T /echo HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "method"},
     {"no target", "GET  HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "target"},
     {"a relative target", "GET echo HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "target"},
     {"a control byte in the target", "GET /e\1cho HTTP/1.1\r\nHost: localhost\r\n\r\n",
      400, "target"},
     {"a fragment in the target", "GET /echo#a HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "fragment"},
     {"a fragment behind a query", "GET /echo?a#b HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "fragment"},
     {"UTF-8 in the target", "GET /echo/\303\244 HTTP/1.1\r\nHost: localhost\r\n\r\n",
      400, "0xc3.*target.*percent-encode"},
     {"UTF-8 in the query", "GET /echo?\303\244 HTTP/1.1\r\nHost: localhost\r\n\r\n",
      400, "0xc3.*target.*percent-encode"},
     {"a user in the target", "GET http://a@localhost/echo HTTP/1.1\r\nHost: localhost\r\n\r\n",
      400, "user name"},
     {"a user with a password in the target",
      "GET http://a:b@localhost/echo HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "user name"},
     {"an escape that is none", "GET /echo/%zz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "percent sign"},
     {"an escaped NUL", "GET /echo/%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "percent sign"},
     {"CONNECT's target with GET", "GET localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "target"},
     {"a path with CONNECT", "CONNECT /echo HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "target"},
     {"an asterisk with GET", "GET * HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "target"},
     {"a port past 65535 in the target",
      "GET http://localhost:99999/echo HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "target"},
     {"no version", "GET /echo\r\nHost: localhost\r\n\r\n", 400, "version"},
     {"no HTTP", "GET /echo HTTQ/1.1\r\nHost: localhost\r\n\r\n", 400, "version"},
     {"HTTP/1.2", "GET /echo HTTP/1.2\r\nHost: localhost\r\n\r\n", 505, "1.2 is not supported"},
     {"HTTP/3.0", "GET /echo HTTP/3.0\r\nHost: localhost\r\n\r\n", 505, "3.0 is not supported"}].

%% RFC 9112, 3.2.
hosts() ->
    [{"no Host", "GET /echo HTTP/1.1\r\nA: b\r\n\r\n", 400, "Host field is missing"},
     {"two Hosts", [?GET, "Host: elsewhere\r\n\r\n"], 400, "Host is repeated"},
     {"a bad Host", "GET /echo HTTP/1.1\r\nHost: local host\r\n\r\n", 400, "value of Host"},
     {"a user in Host", "GET /echo HTTP/1.1\r\nHost: a@localhost\r\n\r\n", 400, "value of Host"},
     {"a path in Host", "GET /echo HTTP/1.1\r\nHost: localhost/echo\r\n\r\n", 400, "value of Host"},
     {"a port past 65535 in Host", "GET /echo HTTP/1.1\r\nHost: localhost:99999\r\n\r\n",
      400, "value of Host"},
     {"a port alone in Host", "GET /echo HTTP/1.1\r\nHost: :80\r\n\r\n", 400, "value of Host"},
     {"an IPv6 address without brackets in Host", "GET /echo HTTP/1.1\r\nHost: ::1\r\n\r\n",
      400, "value of Host"},
     {"half of an IPv6 address in Host", "GET /echo HTTP/1.1\r\nHost: [::1\r\n\r\n",
      400, "value of Host"},
     {"another port than in the target",
      "GET http://localhost:81/echo HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "Host.*differs"},
     {"another Host than in the target",
      "GET http://elsewhere/echo HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "Host.*differs"}].

sizes() ->
    [{"a head of 70 KiB", [?GET, "A: ", lists:duplicate(70 * 1024, $a), "\r\n\r\n"],
      431, "head is larger than 65536 bytes"},
     {"101 headers", [?GET, [["A", integer_to_list(N), ": b\r\n"] || N <- lists:seq(1, 100)], "\r\n"],
      431, "more than 100 header fields"}].

%% RFC 9112, 7.1.
chunks() ->
    [{"no hexadecimal chunk size", [?CHUNKED, "x\r\n"], 400, "chunk size.*not hexadecimal"},
     {"a signed chunk size", [?CHUNKED, "-1\r\n"], 400, "chunk size.*not hexadecimal"},
     {"a chunk size with 0x", [?CHUNKED, "0x1\r\na\r\n"], 400, "chunk"},
     {"a chunk size past 64 bits", [?CHUNKED, "10000000000000000\r\n"], 400, "does not fit 64 bits"},
     {"a chunk longer than its size", [?CHUNKED, "1\r\nab\r\n0\r\n\r\n"],
      400, "no CR LF after the chunk data"},
     {"bare LF after a chunk size", [?CHUNKED, "1\na\r\n0\r\n\r\n"],
      400, "line feed without carriage return"},
     {"a long chunk extension", [?CHUNKED, "1;", lists:duplicate(2000, $a), "\r\na\r\n0\r\n\r\n"],
      400, "chunk size line.*longer than 1024 bytes"},
     {"a bad trailer", [?CHUNKED, "0\r\nnonsense\r\n\r\n"], 400, "trailer field"},
     {"trailers of 9 KiB", [?CHUNKED, "0\r\nA: ", lists:duplicate(9 * 1024, $a), "\r\n\r\n"],
      431, "trailer fields are larger than 8192 bytes"},
     {"chunks of 21 MiB", [?CHUNKED, "1500000\r\n"], 413, "larger than 20971520 bytes"}].

other_protocols() ->
    [{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "HTTP/2 is not spoken.*HTTP/1.1"},
     {"TLS", <<16#16, 3, 1, 2, 0, 1, 0, 1, 16#fc, 3, 3, 0:256>>, 400, "TLS handshake"},
     {"an XML stream", "<?xml version='1.0'?><stream:stream to='localhost'>\r\n\r\n", 400, "."}].
