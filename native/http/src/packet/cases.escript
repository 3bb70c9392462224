#!/usr/bin/env escript
%% Prints cases.txt: what this OTP's erlang:decode_packet/3 makes of each input.
%%
%%   escript cases.escript > cases.txt
%%
%% A row is: kind, line_length (0: no limit), input, answer, separated by tabs. Bytes are escaped as
%% Rust's escape_ascii does it. In the answer {ok, Packet, Rest} is shown as {ok, Packet, Consumed}.
-mode(compile).

main([]) ->
    _ = rand:seed(exsss, {1, 2, 3}),
    Rows = [{http_bin, Limit, I} || I <- first_lines(), Limit <- [0]]
        ++ [{httph_bin, 0, I} || I <- header_lines()]
        ++ [{K, L, I} || K <- [http_bin, httph_bin], L <- [1, 2, 8, 9, 10, 11, 20], I <- limited()]
        ++ [{http_bin, 0, mutate(pick(first_lines()))} || _ <- lists:seq(1, 300)]
        ++ [{httph_bin, 0, mutate(pick(header_lines()))} || _ <- lists:seq(1, 300)],
    [row(Row) || {_, _, Input} = Row <- lists:usort(Rows), not intended_difference(Input)],
    ok.

%% OTP 25 reads the host of an IPv6 literal as "[", newer ones read it whole.
intended_difference(Input) ->
    re:run(Input, "http(s)?://\\[", [caseless]) =/= nomatch.

first_lines() ->
    [list_to_binary(L) || L <- [
        "", "\n", "\r\n", "\r", "\r\n\r\n", "G", "GET", "GET ", "GET\r\n", "GET \r\n", "GET /\r\n",
        "GET / \r\n", "GET /\n", "GET / HTTP/1.1", "GET / HTTP/1.1\r", "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\n", "GET / HTTP/1.1\r\r\n", "GET / HTTP/1.1\rX", "GET / HTTP/1.1\r\nHost: a\r\n",
        "\r\nGET / HTTP/1.1\r\n", " GET / HTTP/1.1\r\n", "\tGET / HTTP/1.1\r\n",
        "GET  /  HTTP/1.1\r\n", "GET\t/\tHTTP/1.1\r\n", "GET / HTTP/1.1 \r\n", "GET / HTTP/1.1 x\r\n",
        "GET / HTTP/1.1x\r\n", "GET / a HTTP/1.1\r\n", "GET / http/1.1\r\n", "GET / HTTP/1\r\n",
        "GET / HTTP/1.\r\n", "GET / HTTP/11\r\n", "GET / HTTP/.1\r\n", "GET / HTTP/1..1\r\n",
        "GET / HTTP/01.01\r\n", "GET / HTTP/0.9\r\n", "GET / HTTP/1.0\r\n", "GET / HTTP/2.0\r\n",
        "GET / HTTP/11.12\r\n", "GET / HTTP/99999999999.1\r\n", "GET / HTTP/1.2147483648\r\n",
        "GET / HTTP/-1.1\r\n", "GET / XTTP/1.1\r\n", "GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n",
        "OPTIONS * HTTP/1.1\r\n", "OPTIONS ** HTTP/1.1\r\n", "HEAD / HTTP/1.1\r\n",
        "POST / HTTP/1.1\r\n", "PUT / HTTP/1.1\r\n", "DELETE / HTTP/1.1\r\n", "TRACE / HTTP/1.1\r\n",
        "PATCH / HTTP/1.1\r\n", "CONNECT a:443 HTTP/1.1\r\n", "get / HTTP/1.1\r\n", "Get / HTTP/1.1\r\n",
        "GE(T / HTTP/1.1\r\n", "GE{T / HTTP/1.1\r\n", [71, 127, 84, " / HTTP/1.1\r\n"],
        [71, 200, 84, " / HTTP/1.1\r\n"], [71, 0, 84, " / HTTP/1.1\r\n"], "!#$%&'*+-.^_`|~ / HTTP/1.1\r\n",
        "GET x HTTP/1.1\r\n", "GET xy HTTP/1.1\r\n", "GET : HTTP/1.1\r\n", "GET :x HTTP/1.1\r\n",
        "GET x: HTTP/1.1\r\n", "GET x:y:z HTTP/1.1\r\n", "GET urn:a/b HTTP/1.1\r\n",
        "GET // HTTP/1.1\r\n", "GET //a/b HTTP/1.1\r\n", "GET /a?b#c HTTP/1.1\r\n",
        ["GET /", 128, 255, " HTTP/1.1\r\n"], ["GET /", 0, 1, 127, " HTTP/1.1\r\n"],
        "GET http: HTTP/1.1\r\n", "GET http:/ HTTP/1.1\r\n", "GET http:// HTTP/1.1\r\n",
        "GET http:/// HTTP/1.1\r\n", "GET http://a HTTP/1.1\r\n", "GET http://a/ HTTP/1.1\r\n",
        "GET http://a/b/c HTTP/1.1\r\n", "GET http://a?b HTTP/1.1\r\n", "GET http://a:80 HTTP/1.1\r\n",
        "GET http://a:80/ HTTP/1.1\r\n", "GET http://a:/ HTTP/1.1\r\n", "GET http://a:0/ HTTP/1.1\r\n",
        "GET http://a:080/ HTTP/1.1\r\n", "GET http://a:8x/ HTTP/1.1\r\n", "GET http://a:x8/ HTTP/1.1\r\n",
        "GET http://a:-1/ HTTP/1.1\r\n", "GET http://a:65536/ HTTP/1.1\r\n",
        "GET http://a:2147483648/ HTTP/1.1\r\n", "GET http://a:4294967296/ HTTP/1.1\r\n",
        "GET http://a:4294967297/ HTTP/1.1\r\n", "GET http://:80/ HTTP/1.1\r\n",
        "GET http://u:p@a:80/ HTTP/1.1\r\n", "GET http://a:80:81/ HTTP/1.1\r\n",
        "GET HTTP://a/ HTTP/1.1\r\n", "GET hTtPs://a:443/x HTTP/1.1\r\n", "GET https:// HTTP/1.1\r\n",
        "GET https:/a HTTP/1.1\r\n", "GET ws://a/ HTTP/1.1\r\n", "GET ftp://a:21/b HTTP/1.1\r\n",
        "HTTP/", "HTTP/\r\n", "HTTP/1.1\r\n", "HTTP/1.1 \r\n", "HTTP/1.1 200\r\n", "HTTP/1.1 200 \r\n",
        "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 Not so OK \r\n", "HTTP/1.1  200  OK\r\n",
        "HTTP/1.1\t200\tOK\r\n", "HTTP/1.1 200OK\r\n", "HTTP/1.1 x\r\n", "HTTP/1.1  x\r\n",
        "HTTP/1.1 99999999999 x\r\n", "HTTP/1.1 2147483648\r\n", "HTTP/1 200 OK\r\n", "HTTP/.1 200 OK\r\n",
        "HTTP/1. 200 OK\r\n", "HTTP/1.1x200 OK\r\n", "http/1.1 200 OK\r\n", "HTTP/2 200\r\n",
        "HTTP/1.1 200 OK\n", "HTTP/1.1 200 OK", "HTTPS / HTTP/1.1\r\n", "HTTP / HTTP/1.1\r\n"]].

header_lines() ->
    Names = ["Host", "host", "HOST", "hOST", "Content-Length", "content-length", "CONTENT-LENGTH",
        "X-Forwarded-For", "x-forwarded-for", "www-authenticate", "WWW-Authenticate", "content-md5",
        "etag", "ETag", "TE", "te", "Sec-WebSocket-Key", "sec-websocket-key", "x", "-", "--", "a-", "-a",
        "a--b", "a---b", "a_b", "A1B2-c3d4", "!#$%&'*+-.^_`|~", "set-cookie2", "set-cookie22", "",
        lists:duplicate(49, $a), lists:duplicate(50, $a), lists:duplicate(51, $a),
        [lists:duplicate(25, $a), $-, lists:duplicate(24, $b)],
        [lists:duplicate(25, $a), $-, lists:duplicate(25, $b)], lists:duplicate(300, $a)],
    Known = ["Cache-Control", "Connection", "Date", "Pragma", "Transfer-Encoding", "Upgrade", "Via",
        "Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Authorization", "From",
        "If-Modified-Since", "If-Match", "If-None-Match", "If-Range", "If-Unmodified-Since",
        "Max-Forwards", "Proxy-Authorization", "Range", "Referer", "User-Agent", "Age", "Location",
        "Proxy-Authenticate", "Public", "Retry-After", "Server", "Vary", "Warning", "Allow",
        "Content-Base", "Content-Encoding", "Content-Language", "Content-Location", "Content-Range",
        "Content-Type", "Etag", "Expires", "Last-Modified", "Accept-Ranges", "Set-Cookie", "Cookie",
        "Keep-Alive", "Proxy-Connection", "Expect", "Origin", "Trailer", "Content-Disposition"],
    [list_to_binary([N, ": v\r\nx"]) || N <- Names ++ Known]
        ++ [list_to_binary(L) || L <- [
        "", "\n", "\r\n", "\r", "\r\nx", "\nx", "\r\n ", "\r\n x\r\nx", "\n x\ny", "A", "A:", "A\r\nx",
        "A:\r\nx", "A: \r\nx", "A:b\r\nx", "A: b\r\n", "A: b\n", "A: b\r\nx", "A: b\nx", "A: b\r\r\nx",
        "A:  \t b\r\nx", "A: b \t\r\nx", "A: b\r\n c\r\nx", "A: b\r\n\tc\r\n d\r\nx", "A: b\n c\nx",
        "A: b\r\n c\r\n", "A: b\r\n ", "A: b\r\n c", "A:\r\n b\r\nx", "A : b\r\nx", "A\t: b\r\nx",
        " A: b\r\nx", "A b: c\r\nx", "A(: b\r\nx", ["A", 0, ": b\r\nx"], ["A", 127, ": b\r\nx"],
        ["A", 128, ": b\r\nx"], ["A: ", 0, 1, 127, 128, 255, "\r\nx"], "A: b: c\r\nx", ": b\r\nx",
        "::\r\nx", "A: b\rc\r\nx", "A: b\r", "a\n b\nx", "a\n:\n"]].

limited() ->
    [<<"GET / HTTP/1.1\r\n">>, <<"A: bcdef\r\nx">>, <<"A: bcdef\r\n g\r\nx">>, <<"A: bcdef">>,
     <<"\r\n">>, <<"\r\nx">>, <<"\n">>, <<"0123456789">>, <<"GET /\r\n">>, <<"A: b\r\n c\r\n">>].

pick(List) -> lists:nth(rand:uniform(length(List)), List).

mutate(<<>>) -> <<>>;
mutate(Bin) ->
    At = rand:uniform(byte_size(Bin)) - 1,
    <<Before:At/binary, Byte, After/binary>> = Bin,
    case rand:uniform(4) of
        1 -> <<Before/binary, After/binary>>;
        2 -> <<Before/binary, (pick(" \t\r\n:/*-.[aZ09\0\x7f\xff")), After/binary>>;
        3 -> <<Before/binary, Byte, (pick(" \t\r\n:/*-.[aZ09\0\x7f\xff")), After/binary>>;
        4 -> Before
    end.

row({Kind, Limit, Input}) ->
    Options = case Limit of 0 -> []; _ -> [{line_length, Limit}] end,
    Answer = case erlang:decode_packet(Kind, Input, Options) of
        {ok, Packet, Rest} -> {ok, Packet, byte_size(Input) - byte_size(Rest)};
        Other -> Other
    end,
    io:put_chars([atom_to_list(Kind), $\t, integer_to_list(Limit), $\t, escape(Input), $\t,
                  term(Answer), $\n]).

term(Bin) when is_binary(Bin) -> [$", escape(Bin), $"];
term(Tuple) when is_tuple(Tuple) -> [${, lists:join($,, [term(E) || E <- tuple_to_list(Tuple)]), $}];
term(Other) -> io_lib:format("~w", [Other]).

escape(Bin) -> [escape_byte(B) || <<B>> <= Bin].

escape_byte($\t) -> "\\t";
escape_byte($\r) -> "\\r";
escape_byte($\n) -> "\\n";
escape_byte($') -> "\\'";
escape_byte($") -> "\\\"";
escape_byte($\\) -> "\\\\";
escape_byte(B) when B >= 32, B < 127 -> [B];
escape_byte(B) -> io_lib:format("\\x~2.16.0b", [B]).
