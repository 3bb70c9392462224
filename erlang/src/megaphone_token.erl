%%% @doc What an ECM is given so that a session can be taken over: the session's process, by its node and its number
%%% there, and a key that only this session knows.
%%%
%%% ```
%%%   1 (1 byte)  key (16)  length of the process's text (1)  "<0.123.0>"  "ejabberd@host"
%%% '''
%%%
%%% The process is text, not a term: so what an ECM sends creates no atom here, and names only a process of the node in
%%% the token, which must be a node of the cluster.
-module(megaphone_token).

-export([new/0, read/1]).

-export_type([key/0, target/0]).

-type key() :: <<_:128>>.
-type target() :: #{key := key(), process := binary(), node := binary()}.

-define(VERSION, 1).

%% @doc A token for the calling session, and its key.
-spec new() -> {key(), Token :: binary()}.
new() ->
    <<Key:16/binary>> = crypto:strong_rand_bytes(16),
    Process = list_to_binary(pid_to_list(self())),
    {Key, <<?VERSION, Key/binary, (byte_size(Process)), Process/binary, (atom_to_binary(node()))/binary>>}.

%% @doc What a token names. Nothing in it is trusted yet.
-spec read(binary()) -> {ok, target()} | error.
read(<<?VERSION, Key:16/binary, Size, Process:Size/binary, Node/binary>>) ->
    {ok, #{key => Key, process => Process, node => Node}};
read(_) ->
    error.
