%% A row of ejabberd's table of sessions, as ejabberd_sm and its backends exchange it: the same in ejabberd 23.01, 24.12
%% and 26.07.
-record(session, {%% When the session began, and its process.
                  sid :: {erlang:timestamp(), pid()},
                  usr :: {User :: binary(), Host :: binary(), Resource :: binary()},
                  us :: {User :: binary(), Host :: binary()},
                  priority :: undefined | integer(),
                  info :: [{atom(), term()}]}).
