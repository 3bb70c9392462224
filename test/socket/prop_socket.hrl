%% What prop_socket and prop_socket_differences share.

%% What is known of both sockets before a command.
-record(context, {owner = 1 :: 1 | 2,
                  peer = open :: open | closed,
                  ours = open :: open | closed,
                  writing = open :: open | shut,
                  reading = open :: open | shut,
                  active = false :: boolean() | once | integer(),
                  packet = 0 :: 0 | atom(),
                  buffered = 0 :: non_neg_integer(),
                  reader = none :: none | waits,
                  %% gen_tcp may have taken a part of what came into a buffer of its own, and gives
                  %% that apart from the rest.
                  split = no :: no | perhaps,
                  %% The length of a recv that timed out.
                  asked = none :: none | pos_integer(),
                  %% A recv was answered that the peer has closed.
                  told = no :: no | yes,
                  %% The socket was in mode httph.
                  headers_only = never :: never | was,
                  %% A command was run that would have been skipped.
                  forced = no :: no | yes}).
