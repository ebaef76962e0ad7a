# Turns the lines of Apache, PHP-FPM and PHP into JSON objects that Cloud Logging understands.

function quoted(text) {
  gsub(/\\/, "\\\\", text)
  gsub(/"/, "\\\"", text)
  gsub(/\t/, "\\t", text)
  gsub(/[\001-\037]/, " ", text)
  return text
}

# Queries hold patients' names and codes for logins, and PHP's complaints of sessions the password of Redis
function unqueried(text) {
  gsub(/\?[]A-Za-z0-9_%.[-]+=[^] "'\\)>]*/, "?…", text)
  gsub(/auth(%5B[a-z]+%5D|\[[a-z]+\])?=[^&" ]*/, "auth=…", text)
  gsub(/[Bb]earer [A-Za-z0-9._~+\/=-]+/, "Bearer …", text)
  return text
}

# Apache writes unprintable bytes as \xHH, which JSON does not know
function repaired(text) {
  gsub(/\\v/, "\\u000b", text)
  while (match(text, /\\x[0-9a-fA-F][0-9a-fA-F]/))
    text = substr(text, 1, RSTART - 1) "\\u00" substr(text, RSTART + 2, 2) substr(text, RSTART + 4)
  return text
}

function marked(text, mark) {
  if (!match(text, "@" mark "@[^@]*@")) return ""
  return substr(text, RSTART + length(mark) + 2, RLENGTH - length(mark) - 3)
}

function severity_of(level) {
  if (level ~ /^(emerg|alert|crit)$/) return "CRITICAL"
  if (level ~ /^(error|ALERT|ERROR)$/) return "ERROR"
  if (level ~ /^(warn|WARNING)$/) return "WARNING"
  if (level ~ /^(notice|NOTICE)$/) return "NOTICE"
  return level ~ /^(debug|trace.|DEBUG)$/ ? "DEBUG" : "INFO"
}

/^\{"severity":"@severity@/ {
  status = marked($0, "severity")
  sub(/@severity@[^@]*@/, status >= 500 ? "ERROR" : (status >= 400 ? "WARNING" : "INFO"))
  sub(/@latency@[^@]*@/, sprintf("%.6fs", marked($0, "latency") / 1000000))
  sub(/"logging.googleapis.com\/trace":"([^"]*\/)?-?",/, "")
  print repaired($0); fflush(); next
}

/^\{"severity":"@level@/ {
  sub(/@level@[^@]*@/, severity_of(marked($0, "level")))
  print repaired(unqueried($0)); fflush(); next
}

/^\{"severity":"[A-Z]+","message":/ { print; fflush(); next }

/^\[[^]]*\] [A-Z]+: / {
  level = $0
  sub(/^\[[^]]*\] /, "", level)
  text = level
  sub(/:.*/, "", level)
  sub(/^[A-Z]+: /, "", text)
  printf "{\"severity\":\"%s\",\"message\":\"%s\",\"module\":\"php-fpm\"}\n", severity_of(level), quoted(unqueried(text))
  fflush(); next
}

NF { printf "{\"severity\":\"%s\",\"message\":\"%s\"}\n", (/^AH[0-9]+: |[Ff]atal|[Ss]yntax error/ ? "ERROR" : "INFO"), quoted(unqueried($0)); fflush() }
