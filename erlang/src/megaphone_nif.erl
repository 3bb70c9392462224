%%% @doc The functions of the NIF, and nothing else.
%%%
%%% A NIF's library can't be replaced in a running VM, so this module stays as it is between
%%% releases; what may change is in its callers. All functions raise `badarg' for terms of the
%%% wrong type, and `nif_not_loaded' if the library could not be loaded ({@link load_error/0}).
%%%
%%% A connection is named by its trunk and a handle. A handle whose connection has ended is
%%% answered `closed' or `{error, closed}', whatever became of its slot.
-module(megaphone_nif).

-export([load_error/0]).
%% The trunk: its reader feeds it, its writer takes its output.
-export([open/1, set_peername/2, set_tls/3, set_writer/2, feed/2, feed_dirty/2, take_output/2, own/3,
         sweep/1, tick/1, held_up/1, drain/1, in_flight/1, sessions/1, is_serving/1, has_output/1, lose/1,
         number/1, version/1, status/1]).
%% A connection.
-export([recv/3, recv_dirty/3, send/3, reserve/3, unreserve/2, cancel/3, close/2, reset/2, shutdown/3, owner/2,
         setopts/3, getopts/2, getstat/2, is_open/2, watch/2,
         transport/2, take_channel_bindings/2, take_certificate/2, take_http_fields/2, take_takeover/2,
         peername/2, sockname/2]).
%% All trunks.
-export([admit/2, trunks/0, trunk/1, ended/0, last_end/0]).
%% The decoders by themselves.
-export([decode_packet/2, proxy_header/1, parse/2, parse_dirty/2]).

-export_type([trunk/0, handle/0, opened/0, left/0, protocol/0, settings/0, ceiling/0, wait/0, status/0,
              trunk_status/0, session_transport/0, address/0]).

-on_load(load/0).

-opaque trunk() :: reference().
%% A number below 2^58: a small integer.
-type handle() :: non_neg_integer().
%% An owner at work that its peer has left: the connection ended, or the peer sends no more and may
%% still read.
-type left() :: pid() | {half_closed, pid()}.
%% What a process waits for: it gets `{'$megaphone', wait()}' and calls again.
-type wait() :: pos_integer().
-type opened() :: {handle(), protocol()}.
-type protocol() :: http | 'xmpp-client' | 'xmpp-framing' | raw.
-type address() :: {inet:ip_address(), inet:port_number()} | {local, binary()} | undefined.
%% What brings no progress on a trunk of version 2. There may be so many at `most' at once; work done
%% on the trunk and each second earn some back. What is not given keeps its default.
-type ceiling() :: unused_streams | unanswered_streams | refused_streams | pings
                 | empty_frames | tiny_frames | idle_updates | stray_frames.
-type settings() ::
    #{content := http | raw,
      max_frame_size := 33..9999999999,
      max_connections := non_neg_integer(),
      max_trunk_buffer := non_neg_integer(),
      max_trunk_output := non_neg_integer(),
      idle_timeout := timeout(),
      send_timeout := timeout(),
      %% For the first whole frame, and for the rest of one that has begun.
      handshake_timeout := timeout(),
      frame_timeout := timeout(),
      ceilings := #{ceiling() => #{most => non_neg_integer(), per_second => non_neg_integer()}},
      %% Whose trunk it is: {@link admit/2} counts these.
      listener := pid(),
      peername := address(),
      sockname := address()}.
-type status() ::
    #{connections := non_neg_integer(),
      opened := non_neg_integer(),
      frames_in := non_neg_integer(),
      frames_out := non_neg_integer(),
      bytes_in := non_neg_integer(),
      bytes_out := non_neg_integer(),
      buffered := non_neg_integer(),
      unsent := non_neg_integer(),
      waiters := non_neg_integer(),
      %% Those that are open, logged in or not.
      sessions := #{session_transport() := non_neg_integer()},
      errors := #{atom() => pos_integer()}}.
%% How the client of a session is connected.
-type session_transport() :: tcp | tls | websocket | bosh.
-type trunk_status() ::
    #{number := pos_integer(),
      reader := pid(),
      peername := address(),
      sockname := address(),
      %% 0 until the first byte has come.
      version := 0..2,
      %% Seconds of Unix time.
      since := non_neg_integer(),
      draining := boolean(),
      tls := none | {Version :: binary(), Certificate :: binary()},
      status := status()}.
-type traffic() :: {Bytes :: non_neg_integer(), Count :: non_neg_integer(),
                    Largest :: non_neg_integer()}.

-define(NOT_LOADED, erlang:nif_error(nif_not_loaded)).

%% @doc Why the library could not be loaded, or `none'.
-spec load_error() -> none | string().
load_error() ->
    persistent_term:get({?MODULE, load_error}, none).

%% @doc A new trunk, read by the caller. Raises a text that names the setting where one is of the
%% wrong type.
-spec open(settings()) -> trunk().
open(_Settings) -> ?NOT_LOADED.

%% @doc The trunk's peer is another than it seemed at {@link open/1}.
-spec set_peername(trunk(), address()) -> ok.
set_peername(_Trunk, _Peername) -> ?NOT_LOADED.

%% @doc The trunk goes by TLS of that version, and its peer has the certificate of that name.
-spec set_tls(trunk(), Version :: binary(), Certificate :: binary()) -> ok.
set_tls(_Trunk, _Version, _Certificate) -> ?NOT_LOADED.

%% @doc Names the process that gets `{'$megaphone', 0}' when there is output.
-spec set_writer(trunk(), pid()) -> ok.
set_writer(_Trunk, _Writer) -> ?NOT_LOADED.

%% @doc Takes up to 64 KiB from the trunk's socket. Answers the connections that opened and
%% what they carry, each to be given an owner, the owners at work that their peer has left, and, where the bytes are no
%% frames, why the trunk has to end.
-spec feed(trunk(), binary()) ->
          {ok, [opened()], [left()]} | {error, [opened()], [left()], binary()}.
feed(_Trunk, _Data) -> ?NOT_LOADED.

%% @doc As {@link feed/2} for more than 64 KiB, on a dirty scheduler.
-spec feed_dirty(trunk(), binary()) ->
          {ok, [opened()], [left()]} | {error, [opened()], [left()], binary()}.
feed_dirty(_Trunk, _Data) -> ?NOT_LOADED.

%% @doc About `Limit' bytes of frames for the trunk's socket; `none' if there are none, and a
%% `{'$megaphone', 0}' will come when there are.
-spec take_output(trunk(), Limit :: pos_integer()) -> binary() | none.
take_output(_Trunk, _Limit) -> ?NOT_LOADED.

%% @doc Gives a connection to a process, whose death closes it.
-spec own(trunk(), handle(), pid()) -> ok | closed.
own(_Trunk, _Handle, _Owner) -> ?NOT_LOADED.

%% @doc Closes what idled too long in a sixty-fourth of the connections; answers the owners at
%% work whose connection ended.
-spec sweep(trunk()) -> [pid()].
sweep(_Trunk) -> ?NOT_LOADED.

%% @doc Looks at the clock, which is due each second: a silent peer of version 2 is asked whether it is
%% there. An error ends the trunk: there was no answer, or a frame is due for too long.
-spec tick(trunk()) -> ok | {error, binary()}.
tick(_Trunk) -> ?NOT_LOADED.

%% @doc Refuses new connections, closes those between requests and the others after their answer.
-spec drain(trunk()) -> ok.
drain(_Trunk) -> ?NOT_LOADED.

%% @doc The owners whose answer is not out yet.
-spec in_flight(trunk()) -> [pid()].
in_flight(_Trunk) -> ?NOT_LOADED.

%% @doc The owners of the connections that carry documents and are open.
-spec sessions(trunk()) -> [pid()].
sessions(_Trunk) -> ?NOT_LOADED.

%% @doc Whether some output waits for the writer, or for its connection's window.
-spec has_output(trunk()) -> boolean().
has_output(_Trunk) -> ?NOT_LOADED.

%% @doc Whether it carries what lasts as long as a client wants: an XML stream or a session.
-spec is_serving(trunk()) -> boolean().
is_serving(_Trunk) -> ?NOT_LOADED.

%% @doc How many sends had to wait for `max_trunk_output' since that was answered last; once a minute at
%% most, else 0.
-spec held_up(trunk()) -> non_neg_integer().
held_up(_Trunk) -> ?NOT_LOADED.

%% @doc Ends all connections with `econnreset'; answers the owners at work.
-spec lose(trunk()) -> [pid()].
lose(_Trunk) -> ?NOT_LOADED.

%% @doc The trunk's number, unique in the VM's life.
-spec number(trunk()) -> pos_integer().
number(_Trunk) -> ?NOT_LOADED.

%% @doc The trunk protocol's version; 0 until the first byte has come.
-spec version(trunk()) -> 0..2.
version(_Trunk) -> ?NOT_LOADED.

%% @doc What the trunk has counted.
-spec status(trunk()) -> status().
status(_Trunk) -> ?NOT_LOADED.

%% @doc Exactly `Length' bytes, or what there is for 0; a packet in the http modes.
-spec recv(trunk(), handle(), Length :: non_neg_integer()) ->
          {ok, binary() | term()} | {wait, wait()} | {error, atom()}.
recv(_Trunk, _Handle, _Length) -> ?NOT_LOADED.

%% @doc As {@link recv/3} for more than 1 MiB, on a dirty scheduler.
-spec recv_dirty(trunk(), handle(), Length :: non_neg_integer()) ->
          {ok, binary() | term()} | {wait, wait()} | {error, atom()}.
recv_dirty(_Trunk, _Handle, _Length) -> ?NOT_LOADED.

%% @doc Queues all of the data, or none of it and says what to wait for, and how long.
-spec send(trunk(), handle(), iodata()) ->
          ok | {wait, wait(), timeout()} | {error, atom()}.
send(_Trunk, _Handle, _Data) -> ?NOT_LOADED.

%% @doc As {@link send/3} of so many bytes, up to 64 KiB, without them: once it is `ok' there is room for
%% them until the connection's next send, or {@link unreserve/2}.
-spec reserve(trunk(), handle(), Length :: pos_integer()) ->
          ok | {wait, wait(), timeout()} | {error, atom()}.
reserve(_Trunk, _Handle, _Length) -> ?NOT_LOADED.

%% @doc There is no send for which room was kept.
-spec unreserve(trunk(), handle()) -> ok.
unreserve(_Trunk, _Handle) -> ?NOT_LOADED.

%% @doc Ends a wait. `sent': its message was sent or is about to be, so receive it.
-spec cancel(trunk(), handle(), wait()) -> cancelled | sent.
cancel(_Trunk, _Handle, _Wait) -> ?NOT_LOADED.

%% @doc Closes a connection; what was sent on it still goes out.
-spec close(trunk(), handle()) -> ok.
close(_Trunk, _Handle) -> ?NOT_LOADED.

%% @doc Ends a connection at once: what waits in either direction is lost.
-spec reset(trunk(), handle()) -> ok.
reset(_Trunk, _Handle) -> ?NOT_LOADED.

%% @doc Ends one direction, or both.
-spec shutdown(trunk(), handle(), read | write | read_write) -> ok | closed.
shutdown(_Trunk, _Handle, _How) -> ?NOT_LOADED.

%% @doc The process whose death closes the connection, and to which active messages go.
-spec owner(trunk(), handle()) -> pid() | closed.
owner(_Trunk, _Handle) -> ?NOT_LOADED.

%% @doc Sets `active', `packet' and `send_timeout'.
-spec setopts(trunk(), handle(), [{atom(), term()}]) -> ok | {error, atom()}.
setopts(_Trunk, _Handle, _Options) -> ?NOT_LOADED.

%% @doc `active', `packet' and `send_timeout'.
-spec getopts(trunk(), handle()) -> [{atom(), term()}] | closed.
getopts(_Trunk, _Handle) -> ?NOT_LOADED.

%% @doc What was received, what was sent, and how many bytes of it wait for the writer.
-spec getstat(trunk(), handle()) ->
          {Received :: traffic(), Sent :: traffic(), Pending :: non_neg_integer()} | closed.
getstat(_Trunk, _Handle) -> ?NOT_LOADED.

%% @doc Whether neither side has closed.
-spec is_open(trunk(), handle()) -> boolean().
is_open(_Trunk, _Handle) -> ?NOT_LOADED.

%% @doc Waits for the owner's close or death; {@link cancel/3} ends it.
-spec watch(trunk(), handle()) -> {wait, wait()} | closed.
watch(_Trunk, _Handle) -> ?NOT_LOADED.

%% @doc How the client speaks to the ECM, and whether by TLS, as the connection's PROXY header says;
%% `{tcp, plain}' where it doesn't.
-spec transport(trunk(), handle()) -> {tcp | websocket | bosh, plain | tls}.
transport(_Trunk, _Handle) -> ?NOT_LOADED.

%% @doc What the client's login can be bound to, as the connection's PROXY header says, by the names of the
%% bindings. It is told once, and kept no longer.
-spec take_channel_bindings(trunk(), handle()) -> [{Name :: binary(), binary()}].
take_channel_bindings(_Trunk, _Handle) -> ?NOT_LOADED.

%% @doc The client's certificate in DER, as the connection's PROXY header says, if it was verified. It is told once,
%% and kept no longer.
-spec take_certificate(trunk(), handle()) -> binary() | none.
take_certificate(_Trunk, _Handle) -> ?NOT_LOADED.

%% @doc The fields of the HTTP request by which a WebSocket client came, as the connection's PROXY header says: lines
%% that end with CRLF. They are told once, and kept no longer.
-spec take_http_fields(trunk(), handle()) -> binary().
take_http_fields(_Trunk, _Handle) -> ?NOT_LOADED.

%% @doc The token of the session that moves to the connection, as its PROXY header says. It is told once, and kept no
%% longer.
-spec take_takeover(trunk(), handle()) -> binary() | none.
take_takeover(_Trunk, _Handle) -> ?NOT_LOADED.

%% @doc The client's address; that of the trunk's peer if the trunk does not tell it.
-spec peername(trunk(), handle()) -> address().
peername(_Trunk, _Handle) -> ?NOT_LOADED.

%% @doc The address the client connected to; our end of the trunk if the trunk does not tell it.
-spec sockname(trunk(), handle()) -> address().
sockname(_Trunk, _Handle) -> ?NOT_LOADED.

%% @doc Whether a listener with fewer than `Most' trunks may have one more; counts `max_trunks' if not.
-spec admit(Listener :: pid(), Most :: non_neg_integer()) -> boolean().
admit(_Listener, _Most) -> ?NOT_LOADED.

%% @doc All trunks, oldest first. Reads counters, asks no process.
-spec trunks() -> [trunk_status()].
trunks() -> ?NOT_LOADED.

%% @doc The trunk with that number.
-spec trunk(non_neg_integer()) -> trunk_status() | none.
trunk(_Number) -> ?NOT_LOADED.

%% @doc The sums of what the trunks that have ended had counted, with the refusals of {@link admit/2}.
-spec ended() -> status().
ended() -> ?NOT_LOADED.

%% @doc When the last trunk that had said a frame ended (seconds of Unix time); 0 if none has.
-spec last_end() -> non_neg_integer().
last_end() -> ?NOT_LOADED.

%% @doc erlang:decode_packet/3 without options, by the decoder that sockets use.
-spec decode_packet(http | http_bin | httph | httph_bin, binary()) ->
          {ok, term(), binary()} | {more, undefined} | {error, invalid}.
decode_packet(_Type, _Data) -> ?NOT_LOADED.

%% @doc The peer that a PROXY header of either version names; `undefined' if it names none. `{more,
%% Count}': so many bytes that follow are the header's.
-spec proxy_header(binary()) -> {ok, address()} | {more, pos_integer()} | {error, Text :: binary()}.
proxy_header(_Bytes) -> ?NOT_LOADED.

%% @doc A document (RFC 6120, 11) as fxml_stream:parse_element/1 gives it, or why it is none. One that
%% has more elements, eight times as many attributes, or passes another limit, is too big, and no term is
%% made of it.
-spec parse(binary(), MaxElements :: non_neg_integer()) ->
          fxml:xmlel() | {error, too_big | (Text :: binary())}.
parse(_Document, _MaxElements) -> ?NOT_LOADED.

%% @doc As {@link parse/2} for more than 16 KiB, on a dirty scheduler.
-spec parse_dirty(binary(), MaxElements :: non_neg_integer()) ->
          fxml:xmlel() | {error, too_big | (Text :: binary())}.
parse_dirty(_Document, _MaxElements) -> ?NOT_LOADED.

%% The module loads without its library, so that the listener can say what is wrong.
-spec load() -> ok.
load() ->
    Path = filename:join(priv_dir(), atom_to_list(?MODULE)),
    case erlang:load_nif(Path, 0) of
        ok ->
            ok;
        {error, {_Kind, Text}} ->
            persistent_term:put({?MODULE, load_error}, lists:flatten(Text))
    end.

priv_dir() ->
    case code:priv_dir(megaphone) of
        {error, bad_name} ->
            Ebin = filename:dirname(code:which(?MODULE)),
            filename:join(filename:dirname(Ebin), "priv");
        Dir ->
            Dir
    end.
