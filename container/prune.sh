# sh prune.sh FOLDER: removes the sessions of Ray under it in which no file is younger than a week.
# A session that runs has one: Ray writes its logs every few seconds.
for session in "$1"/session_2*; do
    if [ -d "$session" ] && [ ! -L "$session" ] && [ -z "$(find "$session" -type f -mtime -7 -print -quit)" ]; then
        rm -rf "$session"
    fi
done
