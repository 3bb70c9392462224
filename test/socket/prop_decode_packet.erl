%% @doc megaphone_nif:decode_packet/2 answers what erlang:decode_packet/3 does, apart from the rows of
%% megaphone_prop_SUITE_data/decode_packet_differences.eterm.
-module(prop_decode_packet).

-include_lib("proper/include/proper.hrl").

-export([prop_near_valid/1, prop_random/1, prop_on_a_socket/0, differences/1, is_theirs/4]).

-export_type([difference/0]).

-type difference() :: {Name :: atom(), map()}.

-define(TRUNK, megaphone_test_nif).
-define(TYPES, [http, http_bin, httph, httph_bin]).

%% @doc The rows of the table; `Dir' is the suites' data folder.
-spec differences(file:name()) -> [difference()].
differences(Dir) ->
    {ok, Rows} = file:consult(filename:join(Dir, "decode_packet_differences.eterm")),
    Rows.

%% @doc Lines that are right or nearly so.
-spec prop_near_valid([difference()]) -> proper:test().
prop_near_valid(Differences) ->
    ?FORALL({Type, Input}, {oneof(?TYPES), ?LET(Lines, lines(), mutation(iolist_to_binary(Lines)))},
            prop_result:holds(fun() -> equal(Type, Input, Differences) end)).

%% @doc Any bytes, more of those that mean something here.
-spec prop_random([difference()]) -> proper:test().
prop_random(Differences) ->
    ?FORALL({Type, Bytes}, {oneof(?TYPES), list(frequency([{1, byte()}, {3, special()}]))},
            prop_result:holds(fun() -> equal(Type, list_to_binary(Bytes), Differences) end)).

%% @doc A socket in a packet mode gives the packets that erlang:decode_packet/3 gives, however the bytes
%% come, and goes from the first line to the headers and back as inet does.
-spec prop_on_a_socket() -> proper:test().
prop_on_a_socket() ->
    ?FORALL({Mode, Lines, Cuts}, {oneof(?TYPES), list(ipv4_line()), non_empty(list(range(1, 50)))},
            prop_result:holds(fun() -> is_given(Mode, iolist_to_binary(Lines), Cuts) end)).

is_given(Mode, Bytes, Cuts) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    ok = inet:setopts(Socket, [{packet, Mode}]),
    Given = recv_cut(Socket, Trunk, Id, Bytes, Cuts, Cuts),
    Expected = decode(Mode, Mode, Bytes),
    ok = gen_tcp:close(Socket),
    prop_result:note("expected ~p~n     got ~p~n", [Expected, Given]),
    Given =:= Expected.

equal(Type, Input, Differences) ->
    is_theirs(megaphone_nif:decode_packet(Type, Input), Type, Input, Differences).

%% @doc Whether `Ours' is what erlang:decode_packet/3 answers, but for the differences.
-spec is_theirs(term(), http | http_bin | httph | httph_bin, binary(), [difference()]) -> boolean().
is_theirs(Ours, Type, Input, Differences) ->
    Theirs = erlang:decode_packet(Type, Input, []),
    prop_result:note("  ours ~p~ntheirs ~p~n", [Ours, Theirs]),
    Ours =:= Theirs
        orelse lists:any(fun(Row) -> intended(Row, Type, Input, Ours, Theirs) end, Differences).

intended({_Name, #{types := Types, lines := Lines, otp := {First, Last}}}, Type, Input, Ours, Theirs) ->
    Release = list_to_integer(erlang:system_info(otp_release)),
    Release >= First andalso Release =< Last andalso lists:member(Type, Types)
        andalso re:run(Input, Lines, [caseless, {capture, none}]) =:= match
        andalso without_uri(Ours) =:= without_uri(Theirs).

without_uri({ok, {http_request, Method, {absoluteURI, Scheme, _, _, Path}, Version}, Rest}) ->
    {ok, {http_request, Method, Scheme, Path, Version}, Rest};
without_uri(Other) ->
    Other.

%% What a socket gives of these bytes, the mode switched as inet does.
decode(Mode, Type, Bytes) ->
    case erlang:decode_packet(Type, Bytes, []) of
        {ok, Packet, Rest} -> [Packet | decode(Mode, next(Mode, Type, Packet), Rest)];
        {more, undefined} -> []
    end.

next(http, _, Packet) when element(1, Packet) =:= http_request; element(1, Packet) =:= http_response ->
    httph;
next(http_bin, _, Packet) when element(1, Packet) =:= http_request;
                               element(1, Packet) =:= http_response ->
    httph_bin;
next(Mode, _, http_eoh) ->
    Mode;
next(_, Type, _) ->
    Type.

recv_cut(Socket, _Trunk, _Id, <<>>, _, _) ->
    recv_all(Socket);
recv_cut(Socket, Trunk, Id, Bytes, [], All) ->
    recv_cut(Socket, Trunk, Id, Bytes, All, All);
recv_cut(Socket, Trunk, Id, Bytes, [Cut | Cuts], All) ->
    Size = min(Cut, byte_size(Bytes)),
    <<Piece:Size/binary, Rest/binary>> = Bytes,
    ok = ?TRUNK:peer_send(Trunk, Id, Piece),
    recv_all(Socket) ++ recv_cut(Socket, Trunk, Id, Rest, Cuts, All).

recv_all(Socket) ->
    case gen_tcp:recv(Socket, 0, 0) of
        {ok, Packet} -> [Packet | recv_all(Socket)];
        {error, timeout} -> []
    end.

lines() ->
    [line() | frequency([{3, []}, {2, [line()]}])].

line() ->
    line(uri()).

%% The difference in IPv6 addresses is another property's.
ipv4_line() ->
    line(oneof(["/", "/a?b=c", "*", "http://h:80/p", "https://h", "mailto:a@b", "a"])).

line(Uri) ->
    frequency([{4, [method(), space(), Uri, space(), version(), eol()]},
               {2, [version(), space(), status(), space(), phrase(), eol()]},
               {5, [name(), colon(), value(), eol()]},
               {1, [method(), space(), Uri, eol()]},
               {2, eol()}]).

method() ->
    frequency([{5, oneof(["GET", "PUT", "POST", "HEAD", "DELETE", "OPTIONS", "TRACE"])},
               {2, oneof(["get", "PATCH", "CONNECT", "", "G(T", "G\0T", "GET:", "\x7fGET", "\xe4"])},
               {1, list(special())}]).

space() ->
    frequency([{8, " "}, {1, oneof(["", "  ", "\t", " \t ", "\v"])}]).

uri() ->
    frequency([{4, oneof(["/", "*", "/a/b?c=d#e", "http://host/path", "https://host:8080/", "//x", "?"])},
               {2, oneof(["http://", "http:/", "HTTP://H", "hTTps://h:p/", "http://h:0/", "http://h:/",
                          "http://h:00080", "http://h:99999999999/", "http://a:b:1/", "x:", ":", "*a",
                          "mailto:a@b", "urn:a:b", "http:", "https", ""])},
               {2, ?LET({Scheme, Host, Port, Path},
                        {oneof(["http://", "https://", "HtTp://"]),
                         oneof(["[::1]", "[", "]", "[::1", "::1]", "[]", "[:]", "[a]", "a[::1]", "[1:2]x",
                                "h", "[[::1]]", "[:]]"]),
                         oneof(["", ":", ":80", ":0", ":8x", ":80:90", "80"]),
                         oneof(["", "/", "/[::1]:80"])},
                        [Scheme, Host, Port, Path])},
               {1, list(special())}]).

version() ->
    frequency([{6, oneof(["HTTP/1.1", "HTTP/1.0"])},
               {2, oneof(["HTTP/0.9", "HTTP/10.20", "HTTP/1.", "HTTP/.1", "HTTP/11", "http/1.1", "HTTP/",
                          "HTTP/1.1x", "HTTP/4294967297.1", "HTTP/1.99999999999999999999", "HTTP/1.1 ",
                          "HTTP/1", "HTTP", "XTTP/1.1"])}]).

status() ->
    oneof(["200", "404", "0", "1000", "", "2x", "99999999999", "-1"]).

phrase() ->
    oneof(["OK", "Not Found", "", " ", "\xe4\0", "a\tb "]).

name() ->
    frequency([{4, ?LET(Name, oneof(known_names()), in_any_case(Name))},
               {2, oneof(["X-Y", "x-forwarded-for", "a--b", "-a-", "A1-b2", "_x", "", "X Y", "Host ",
                          "h\0st", "h(st", "\xe4", "\x7f"])},
               {1, ?LET(Length, range(45, 55), [vector(Length, oneof("aB-"))])},
               {1, list(special())}]).

known_names() ->
    ["Cache-Control", "Connection", "Date", "Transfer-Encoding", "Upgrade", "Via", "Accept",
     "Accept-Charset", "Accept-Encoding", "Accept-Language", "Authorization", "From", "Host",
     "If-Modified-Since", "If-Match", "If-None-Match", "If-Range", "If-Unmodified-Since",
     "Max-Forwards", "Proxy-Authorization", "Range", "Referer", "User-Agent", "Age", "Location",
     "Proxy-Authenticate", "Public", "Retry-After", "Server", "Vary", "Warning", "Www-Authenticate",
     "Allow", "Content-Base", "Content-Encoding", "Content-Language", "Content-Length",
     "Content-Location", "Content-Md5", "Content-Range", "Content-Type", "Etag", "Expires",
     "Last-Modified", "Accept-Ranges", "Set-Cookie", "Set-Cookie2", "X-Forwarded-For", "Cookie",
     "Keep-Alive", "Proxy-Connection", "Pragma", "Te", "Trailer", "Origin"].

in_any_case(Name) ->
    frequency([{3, Name}, {1, string:lowercase(Name)}, {1, string:uppercase(Name)},
               {1, ?LET(Swaps, vector(length(Name), boolean()),
                        [case Swap of true -> swap(Char); false -> Char end
                         || {Char, Swap} <- lists:zip(Name, Swaps)])}]).

swap(Char) when Char >= $a, Char =< $z -> Char - 32;
swap(Char) when Char >= $A, Char =< $Z -> Char + 32;
swap(Char) -> Char.

colon() ->
    frequency([{6, ": "}, {2, oneof([":", " :", ":\t ", "", ";", "::", ": : "])}]).

value() ->
    frequency([{4, oneof(["a", "1234", "text/html; q=0.5", "a b\tc", "", " ", "v  "])},
               {1, oneof(["a\r\n b", "a\n\tb\r\n c", "\xe4\0\x7f", "a\rb"])},
               {1, list(special())}]).

eol() ->
    frequency([{8, "\r\n"}, {2, "\n"}, {1, oneof(["", "\r", "\r\r\n", "\n\r", "\r\n ", "\r\n\t"])}]).

special() ->
    oneof(" \t\r\n:/?*[]()<>@,;\\\"={}HTP1.0ax-\0\x7f").

%% Most are left as they are; others get one byte more, less or another.
mutation(Bytes) ->
    frequency([{6, Bytes},
               {4, ?LET({At, Byte, Change}, {range(0, byte_size(Bytes)), oneof([byte(), special()]),
                                             oneof([insert, replace, cut, repeat])},
                        mutated(Change, Bytes, At, Byte))}]).

mutated(Change, Bytes, At, Byte) ->
    <<Before:At/binary, Behind/binary>> = Bytes,
    case {Change, Behind} of
        {insert, _} -> <<Before/binary, Byte, Behind/binary>>;
        {replace, <<_, Rest/binary>>} -> <<Before/binary, Byte, Rest/binary>>;
        {cut, _} -> Before;
        {repeat, <<One, _/binary>>} -> <<Before/binary, One, Behind/binary>>;
        {_, <<>>} -> Before
    end.
