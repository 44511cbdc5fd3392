# Runs one PostgreSQL server for the process that holds the other end of our standard input; see cluster.rs.
# $1: the program postgres, $2: the cluster's directory.

postgres=$1
directory=$2
started=

while read -r command port; do
    case $command in
    start)
        started=yes
        # The server gets no standard input, so nothing below us can keep the owner's pipe in use.
        (
            "$postgres" -D "$directory/data" -p "$port" &
            echo $! >"$directory/pid.new"
            mv "$directory/pid.new" "$directory/pid"
            wait $!
            echo $? >"$directory/exited"
        ) </dev/null >>"$directory/log" 2>&1 &
        ;;
    stop) kill -s INT "$(cat "$directory/pid")" ;;
    kill) kill -s QUIT "$(cat "$directory/pid")" ;;
    esac
done

# The owner is gone, nobody will read the data: end the server at once. Asked again and again, because a server that
# starts at this very moment does not listen to signals yet.
attempts=0
while [ -n "$started" ] && [ ! -e "$directory/exited" ] && [ $attempts -lt 600 ]; do
    if [ -e "$directory/pid" ]; then
        kill -s QUIT "$(cat "$directory/pid")" || break
    fi
    sleep 0.1 || sleep 1
    attempts=$((attempts + 1))
done

cd /
rm -rf "$directory" || { sleep 1 && rm -rf "$directory"; }
