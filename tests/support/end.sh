# end PID...: ends processes that this shell started, the later ones first. swtpm 0.10.2 now and then goes on after SIGTERM, busy and
# deaf, so that a plain "kill and wait" would wait for ever.
end() {
  local i left
  for ((i = $#; i > 0; i--)); do
    kill "${!i}" 2>/dev/null || continue
    for ((left = 60; left > 0; left--)); do kill -0 "${!i}" 2>/dev/null || break; sleep 0.05; done
    [ $left != 0 ] || kill -KILL "${!i}" 2>/dev/null || true
    wait "${!i}" 2>/dev/null || true
  done
}
