/* http.c - files on web servers that serve ranges of them, through libcurl.
 *
 * Follows RFC 9110 (ranges, conditional requests). What is read has to stay the same file from the
 * first request to the last: its size, and its ETag or date where the server tells one, are pinned.
 * A link is a curl easy handle, which keeps its connection for the next request.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/remote.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define MAX_LINKS 8u
#define MAX_REDIRECTS 5L
#define MAX_HEADER 8192u                /* of an ETag or date that is kept */
#define MAX_ERROR_BODY ((gsize)1 << 16) /* read for the sake of the connection */
#define BUFFER_SIZE ((long)256 << 10)
#define SLOW_BYTES 512L               /* a second; slower for longer than a stall is one */
#define STREAM_MAX ((guint64)1 << 30) /* fetched whole when a server knows no ranges */
#define WRONG_ANSWER_TRIES 3u

/* The headers of a response that matter. */
typedef struct
{
  long status;
  char *etag, *date; /* Last-Modified; NULL: none */
  gboolean has_range;
  guint64 first, last; /* of Content-Range, bytes */
  gboolean has_total;
  guint64 total; /* of Content-Range, or Content-Length of a whole file */
} Head;

typedef struct
{
  H2kRemote remote;
  char *url;
  gboolean opened;
  Head pinned; /* what the first answer said */
} Http;

/* One request under way. */
typedef struct
{
  Http *http;
  CURL *easy;
  char reason[CURL_ERROR_SIZE];
  Head head;
  gboolean ended;      /* all headers of the last response are there */
  H2kRemoteRead *read; /* where the body goes; NULL: nowhere */
  int fd;              /* or here, at READ's offset; -1 */
  gboolean taken;      /* the response is the right one */
  gboolean too_long;
  int write_error;
  gsize ignored; /* bytes of an error's text */
} Request;

static void
head_clear (Head *head)
{
  g_free (head->etag);
  g_free (head->date);
  *head = (Head){0};
}

static gboolean set_error (GError **error, const Http *http, const char *format, ...)
    G_GNUC_PRINTF (3, 4);

/* Always FALSE. */
static gboolean
set_error (GError **error, const Http *http, const char *format, ...)
{
  g_autofree char *text = NULL, *safe = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  safe = h2k_escape_text (text, -1);
  g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE, "%s: %s", http->remote.file.name, safe);
  return FALSE;
}

/* --- the headers ------------------------------------------------------------------------------ */

static gboolean
parse_number (const char **text, guint64 *number)
{
  char *end;

  if (!g_ascii_isdigit (**text))
    return FALSE;
  errno = 0;
  *number = g_ascii_strtoull (*text, &end, 10);
  *text = end;
  return errno == 0 && *number <= G_MAXINT64;
}

/* "bytes 0-511/4096", "bytes 0-511/" and a star, or "bytes", a star and "/4096". */
static void
parse_range (Head *head, const char *text)
{
  if (g_ascii_strncasecmp (text, "bytes", 5) != 0)
    return;
  text += 5;
  text += strspn (text, " \t");
  if (*text == '*')
    text++;
  else if (parse_number (&text, &head->first) && *text++ == '-')
    head->has_range = parse_number (&text, &head->last) && head->first <= head->last;
  if (*text == '/' && text++)
    head->has_total = parse_number (&text, &head->total);
}

static void
parse_field (Head *head, const char *name, const char *value)
{
  if (strlen (value) > MAX_HEADER)
    return;
  if (g_ascii_strcasecmp (name, "ETag") == 0 && !head->etag)
    head->etag = g_strdup (value);
  else if (g_ascii_strcasecmp (name, "Last-Modified") == 0 && !head->date)
    head->date = g_strdup (value);
  else if (g_ascii_strcasecmp (name, "Content-Range") == 0)
    parse_range (head, value);
  else if (g_ascii_strcasecmp (name, "Content-Length") == 0 && head->status == 200)
    head->has_total = parse_number (&value, &head->total);
}

/* One line of the headers of any response, redirections included. */
static size_t
take_header (char *data, size_t size, size_t count, void *user)
{
  Request *request = user;
  g_autofree char *line = g_strndup (data, size * count);
  char *colon;

  g_strchomp (line);
  if (g_str_has_prefix (line, "HTTP/"))
    {
      const char *space = strchr (line, ' ');
      head_clear (&request->head);
      request->ended = FALSE;
      request->head.status = space ? strtol (space, NULL, 10) : 0;
    }
  else if (*line == '\0')
    request->ended = TRUE;
  else if (!request->ended && (colon = strchr (line, ':')))
    {
      *colon = '\0';
      parse_field (&request->head, g_strchomp (line), g_strstrip (colon + 1));
    }
  return size * count;
}

/* --- the body --------------------------------------------------------------------------------- */

/* A part that was asked for, of the file that was opened. */
static gboolean
is_right_part (const Request *request)
{
  const Head *head = &request->head, *pinned = &request->http->pinned;
  const H2kRemoteRead *read = request->read;

  return head->status == 206 && head->has_range && read && head->first == read->offset
         && head->last - head->first < read->length
         && (!head->has_total || head->total == pinned->total)
         && (!head->etag || !pinned->etag || g_str_equal (head->etag, pinned->etag))
         && (!head->date || !pinned->date || g_str_equal (head->date, pinned->date));
}

static size_t
take_body (char *data, size_t size, size_t count, void *user)
{
  Request *request = user;
  H2kRemoteRead *read = request->read;
  gsize n = size * count;

  if (!request->taken)
    request->taken = request->fd >= 0 ? request->head.status == 200 : is_right_part (request);
  if (!request->taken)
    {
      /* The text of an error is read, so that the connection can be used again; a whole file is
       * not. */
      request->ignored += n;
      return (request->head.status >= 300 || !read) && request->ignored <= MAX_ERROR_BODY ? n : 0;
    }
  if (n > read->length)
    {
      request->too_long = TRUE;
      n = read->length;
    }
  if (request->fd >= 0)
    request->write_error = h2k_pwrite_full (request->fd, data, n, read->offset);
  else
    memcpy (read->buffer, data, n);
  if (request->write_error)
    return 0;
  read->offset += n;
  read->length -= n;
  read->buffer = read->buffer ? read->buffer + n : NULL;
  return request->too_long ? 0 : size * count;
}

static int
look_up (void *user, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
  return h2k_remote_is_cancelled (NULL);
}

/* --- links ------------------------------------------------------------------------------------ */

static const char *
ca_file (void)
{
  static const char *const names[] = {"H2K_CACERT", "CURL_CA_BUNDLE", "SSL_CERT_FILE"};

  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    if (g_getenv (names[i]) && *g_getenv (names[i]))
      return g_getenv (names[i]);
  return NULL;
}

static void
limit_protocols (CURL *easy, const char *url)
{
  /* What began in secret stays so. */
  gboolean tls = g_ascii_strncasecmp (url, "https:", 6) == 0;

#if LIBCURL_VERSION_NUM >= 0x075500
  curl_easy_setopt (easy, CURLOPT_PROTOCOLS_STR, tls ? "https" : "http");
  curl_easy_setopt (easy, CURLOPT_REDIR_PROTOCOLS_STR, tls ? "https" : "http,https");
#else
  curl_easy_setopt (easy, CURLOPT_PROTOCOLS, tls ? CURLPROTO_HTTPS : CURLPROTO_HTTP);
  curl_easy_setopt (easy, CURLOPT_REDIR_PROTOCOLS,
                    tls ? CURLPROTO_HTTPS : CURLPROTO_HTTP | CURLPROTO_HTTPS);
#endif
}

static gpointer
http_connect (H2kRemote *remote, H2kTrouble *trouble, GError **error)
{
  Http *http = (Http *)remote;
  CURL *easy = curl_easy_init ();

  if (!easy)
    {
      set_error (error, http, "libcurl cannot be used");
      return NULL;
    }
  curl_easy_setopt (easy, CURLOPT_URL, http->url);
  limit_protocols (easy, http->url);
  curl_easy_setopt (easy, CURLOPT_USERAGENT, "hyper2kvm/" H2K_VERSION);
  curl_easy_setopt (easy, CURLOPT_NETRC, (long)CURL_NETRC_OPTIONAL);
  curl_easy_setopt (easy, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt (easy, CURLOPT_MAXREDIRS, MAX_REDIRECTS);
  /* One request after the other on each connection: HTTP/2 has nothing to give. */
  curl_easy_setopt (easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  curl_easy_setopt (easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt (easy, CURLOPT_BUFFERSIZE, BUFFER_SIZE);
  curl_easy_setopt (easy, CURLOPT_CONNECTTIMEOUT, (long)h2k_remote_stall ());
  curl_easy_setopt (easy, CURLOPT_LOW_SPEED_LIMIT, SLOW_BYTES);
  curl_easy_setopt (easy, CURLOPT_LOW_SPEED_TIME, (long)h2k_remote_stall ());
  curl_easy_setopt (easy, CURLOPT_HEADERFUNCTION, take_header);
  curl_easy_setopt (easy, CURLOPT_WRITEFUNCTION, take_body);
  curl_easy_setopt (easy, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt (easy, CURLOPT_XFERINFOFUNCTION, look_up);
  if (ca_file ())
    curl_easy_setopt (easy, CURLOPT_CAINFO, ca_file ());
  return easy;
}

static void
http_disconnect (gpointer link)
{
  curl_easy_cleanup (link);
}

/* --- what an answer means --------------------------------------------------------------------- */

static const struct
{
  long status;
  gboolean again;
  const char *text;
} statuses[] = {
    {401, FALSE, "the server wants a user and password: put them into ~/.netrc or the URI"},
    {403, FALSE, "the server refuses it: check the user, or whether the link has expired"},
    {404, FALSE, "there is no such file on the server: check the URI"},
    {407, FALSE, "the proxy wants a user and password"},
    {408, TRUE, "the server gave up waiting"},
    {410, FALSE, "the file is no longer on the server"},
    {429, TRUE, "the server wants fewer requests"},
    {500, TRUE, "the server failed"},
    {502, TRUE, "the server's backend failed"},
    {503, TRUE, "the server is not available"},
    {504, TRUE, "the server's backend did not answer"},
};

static gboolean
set_status_error (const Http *http, Request *request, H2kTrouble *trouble, GError **error)
{
  curl_off_t wait = 0;
  long status = request->head.status;

  for (gsize i = 0; i < G_N_ELEMENTS (statuses); i++)
    if (statuses[i].status == status)
      {
        trouble->again = statuses[i].again;
#if LIBCURL_VERSION_NUM >= 0x074200
        curl_easy_getinfo (request->easy, CURLINFO_RETRY_AFTER, &wait);
#endif
        trouble->wait = wait > 0 ? (guint64)wait : 0;
        if (trouble->wait)
          return set_error (error, http,
                            "HTTP status %ld: %s; it asks to come back after %" G_GUINT64_FORMAT
                            " seconds",
                            status, statuses[i].text, trouble->wait);
        return set_error (error, http, "HTTP status %ld: %s", status, statuses[i].text);
      }
  return set_error (error, http, "unexpected HTTP status %ld from the server", status);
}

static gboolean
set_changed (const Http *http, GError **error)
{
  return set_error (error, http,
                    "the file changed while it was read (or the server's copies differ); wait "
                    "until nobody writes it and start again");
}

/* A response that is_right_part() did not take. */
static gboolean
set_wrong_part (const Http *http, Request *request, H2kTrouble *trouble, GError **error)
{
  const Head *head = &request->head, *pinned = &http->pinned;

  if (head->status == 412 || head->status == 416
      || (head->has_total && head->total != pinned->total)
      || (head->etag && pinned->etag && !g_str_equal (head->etag, pinned->etag))
      || (head->date && pinned->date && !g_str_equal (head->date, pinned->date)))
    return set_changed (http, error);
  if (head->status != 200 && head->status != 206)
    return set_status_error (http, request, trouble, error);
  trouble->again = TRUE;
  trouble->tries = WRONG_ANSWER_TRIES;
  trouble->broken = TRUE;
  if (head->status == 200)
    return set_error (error, http,
                      "the server no longer serves ranges of the file; download it first");
  return set_error (error, http,
                    "the server answered with another part than the one asked for "
                    "(Content-Range); download the file first");
}

static const struct
{
  CURLcode code;
  gboolean always; /* also when the file was never reached */
} passing[] = {
    {CURLE_COULDNT_RESOLVE_HOST, FALSE},
    {CURLE_COULDNT_RESOLVE_PROXY, FALSE},
    {CURLE_COULDNT_CONNECT, FALSE},
    {CURLE_SSL_CONNECT_ERROR, FALSE},
    {CURLE_OPERATION_TIMEDOUT, TRUE},
    {CURLE_PARTIAL_FILE, TRUE},
    {CURLE_SEND_ERROR, TRUE},
    {CURLE_RECV_ERROR, TRUE},
    {CURLE_GOT_NOTHING, TRUE},
    {CURLE_WEIRD_SERVER_REPLY, TRUE},
};

static gboolean
set_curl_error (const Http *http, Request *request, CURLcode code, H2kTrouble *trouble,
                GError **error)
{
  const char *text = *request->reason ? request->reason : curl_easy_strerror (code);

  trouble->broken = TRUE;
  for (gsize i = 0; i < G_N_ELEMENTS (passing); i++)
    if (passing[i].code == code)
      trouble->again = passing[i].always || http->opened;
  /* Without a connection at all there is no point in waiting long for the first one. */
  if (code == CURLE_OPERATION_TIMEDOUT && !http->opened && !request->head.status)
    trouble->again = FALSE;
  if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
    return set_error (error, http,
                      "the server's certificate cannot be trusted: %s; name your own authority's "
                      "file in H2K_CACERT",
                      text);
  if (code == CURLE_TOO_MANY_REDIRECTS)
    return set_error (error, http, "the server redirects too often (%s)", text);
  if (code == CURLE_UNSUPPORTED_PROTOCOL)
    return set_error (error, http,
                      "the server redirects to what is not http or https, or from https to http "
                      "(%s)",
                      text);
  if (code == CURLE_OPERATION_TIMEDOUT)
    return set_error (error, http,
                      "the server does not answer, or sends less than %ld bytes a "
                      "second (%s)",
                      SLOW_BYTES, text);
  return set_error (error, http, "%s", text);
}

/* --- requests --------------------------------------------------------------------------------- */

/* The condition under which parts are wanted: NULL for none. */
static char *
if_range (const Http *http)
{
  const Head *pinned = &http->pinned;
  gboolean strong = pinned->etag && !g_str_has_prefix (pinned->etag, "W/");

  if (!http->opened || (!strong && !pinned->date))
    return NULL;
  return g_strdup_printf ("If-Range: %s", strong ? pinned->etag : pinned->date);
}

static CURLcode
perform (Request *request, const char *range)
{
  g_autofree char *condition = if_range (request->http);
  struct curl_slist *headers = curl_slist_append (NULL, "Accept-Encoding: identity");
  CURLcode code;

  if (condition)
    headers = curl_slist_append (headers, condition);
  curl_easy_setopt (request->easy, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt (request->easy, CURLOPT_RANGE, range);
  curl_easy_setopt (request->easy, CURLOPT_HEADERDATA, request);
  curl_easy_setopt (request->easy, CURLOPT_WRITEDATA, request);
  curl_easy_setopt (request->easy, CURLOPT_ERRORBUFFER, request->reason);
  code = curl_easy_perform (request->easy);
  curl_easy_setopt (request->easy, CURLOPT_ERRORBUFFER, NULL);
  curl_easy_setopt (request->easy, CURLOPT_HTTPHEADER, NULL);
  curl_slist_free_all (headers);
  return code;
}

/* Ask for all that is still wanted of READ; a server may send less of it. */
static gboolean
fetch_part (Http *http, CURL *easy, H2kRemoteRead *read, H2kTrouble *trouble, GError **error)
{
  Request request = {.http = http, .easy = easy, .read = read, .fd = -1};
  g_autofree char *range = g_strdup_printf ("%" G_GUINT64_FORMAT "-%" G_GUINT64_FORMAT,
                                            read->offset, read->offset + read->length - 1);
  gsize wanted = read->length;
  CURLcode code = perform (&request, range);
  gboolean ok = FALSE;

  if (code == CURLE_ABORTED_BY_CALLBACK && h2k_remote_is_cancelled (error))
    trouble->broken = TRUE;
  else if (request.too_long)
    {
      trouble->broken = TRUE;
      set_error (error, http, "the server sent more than the part that was asked for");
    }
  else if (request.ended && !request.taken && request.head.status
           && (code == CURLE_OK || code == CURLE_WRITE_ERROR))
    set_wrong_part (http, &request, trouble, error);
  else if (code != CURLE_OK && read->length)
    set_curl_error (http, &request, code, trouble, error);
  else if (read->length == wanted)
    {
      trouble->again = TRUE;
      trouble->tries = WRONG_ANSWER_TRIES;
      set_error (error, http, "the server sent nothing");
    }
  else
    ok = TRUE;
  head_clear (&request.head);
  return ok;
}

static gboolean
http_read (H2kRemote *remote, gpointer link, H2kRemoteRead *read, H2kTrouble *trouble,
           GError **error)
{
  while (read->length)
    if (!fetch_part ((Http *)remote, link, read, trouble, error))
      return FALSE;
  return TRUE;
}

static const H2kRemoteOps remote_ops = {
    .direct = 128 << 10,
    .connect = http_connect,
    .disconnect = http_disconnect,
    .read = http_read,
};

/* --- opening ---------------------------------------------------------------------------------- */

/* Ask for the first byte: whether there are ranges, and how large the file is. */
static gboolean
try_probe (H2kRemote *remote, gpointer link, gpointer job, H2kTrouble *trouble, GError **error)
{
  Http *http = (Http *)remote;
  Request request = {.http = http, .easy = link, .fd = -1};
  CURLcode code = perform (&request, "0-0");
  long status = request.ended ? request.head.status : 0;
  gboolean ok = FALSE;

  head_clear (&http->pinned);
  if (code == CURLE_ABORTED_BY_CALLBACK && h2k_remote_is_cancelled (error))
    trouble->broken = TRUE;
  else if (code != CURLE_OK && code != CURLE_WRITE_ERROR
           && !(code == CURLE_PARTIAL_FILE && request.ended))
    set_curl_error (http, &request, code, trouble, error);
  else if (status == 200 || (status == 206 && request.head.has_range && request.head.first == 0)
           || (status == 416 && request.head.has_total))
    {
      http->pinned = request.head;
      request.head = (Head){0};
      ok = TRUE;
    }
  else
    set_status_error (http, &request, trouble, error);
  /* The body of the probe is not read: that connection is used up. */
  trouble->broken = trouble->broken || code != CURLE_OK;
  head_clear (&request.head);
  return ok;
}

static const H2kFileOps file_ops;

/* --- servers without ranges ------------------------------------------------------------------- */

static int
open_temp (GError **error)
{
  const char *folder = g_getenv ("TMPDIR");
  int fd = open (folder ? folder : "/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600), err;

  if (fd < 0)
    {
      g_autofree char *path
          = g_build_filename (folder ? folder : "/var/tmp", ".hyper2kvm-XXXXXX", NULL);
      fd = g_mkstemp_full (path, O_RDWR | O_CLOEXEC, 0600);
      err = errno;
      if (fd >= 0)
        unlink (path);
      else
        h2k_set_errno (error, H2K_ERROR_OUTPUT, err, "cannot create a temporary file in %s",
                       folder ? folder : "/var/tmp");
    }
  return fd;
}

/* The whole file into the descriptor that JOB points to; each try starts anew. */
static gboolean
try_stream (H2kRemote *remote, gpointer link, gpointer job, H2kTrouble *trouble, GError **error)
{
  Http *http = (Http *)remote;
  H2kRemoteRead read = {0, STREAM_MAX, NULL};
  Request request = {.http = http, .easy = link, .read = &read, .fd = *(int *)job};
  CURLcode code;
  gboolean ok = FALSE;

  if (ftruncate (request.fd, 0) != 0)
    request.write_error = errno;
  code = request.write_error ? CURLE_OK : perform (&request, NULL);
  if (request.write_error)
    h2k_set_errno (error, H2K_ERROR_OUTPUT, request.write_error,
                   "%s: cannot store the file while it is fetched", remote->file.name);
  else if (request.too_long)
    set_error (error, http, "is larger than the server said, or than can be fetched whole");
  else if (code == CURLE_ABORTED_BY_CALLBACK && h2k_remote_is_cancelled (error))
    trouble->broken = TRUE;
  else if (code != CURLE_OK && code != CURLE_WRITE_ERROR)
    set_curl_error (http, &request, code, trouble, error);
  else if (request.head.status != 200)
    set_status_error (http, &request, trouble, error);
  else
    ok = TRUE;
  trouble->broken = trouble->broken || !ok;
  head_clear (&request.head);
  return ok;
}

/* The caller's; NULL when the server tells nothing. */
static char *
version_of (const Http *http)
{
  const char *etag = http->pinned.etag, *date = http->pinned.date;
  g_autofree char *what
      = g_strjoin (etag && date ? ", " : "", etag ? etag : "", date ? date : "", NULL);

  return *what ? h2k_escape_text (what, -1) : NULL;
}

/* A copy of the file that has no name, when it is small enough. */
static H2kFile *
fetch_whole (Http *http, GError **error)
{
  const Head *pinned = &http->pinned;
  g_autofree char *size = pinned->has_total ? h2k_format_size (pinned->total) : NULL;
  g_autofree char *path = NULL;
  H2kFile *copy = NULL;
  int fd;

  if (pinned->has_total && pinned->total > STREAM_MAX)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "%s: the server does not serve ranges of the file, which has %s: download it "
                   "first, for example with \"curl -O\", and give the file",
                   http->remote.file.name, size);
      return NULL;
    }
  fd = open_temp (error);
  if (fd < 0)
    return NULL;
  g_message ("%s: the server does not serve ranges of the file: fetching all of it (%s) first",
             http->remote.file.name, size ? size : "of unknown size");
  path = g_strdup_printf ("/proc/self/fd/%d", fd);
  if (h2k_remote_run (&http->remote, try_stream, &fd, error))
    copy = h2k_file_open (path, error);
  close (fd);
  if (copy)
    {
      g_free (copy->path);
      g_free (copy->name);
      copy->path = g_strdup (http->remote.file.path);
      copy->name = g_strdup (http->remote.file.name);
      copy->server = http->remote.file.server;
      copy->version = version_of (http);
    }
  return copy;
}

/* --- the kind --------------------------------------------------------------------------------- */

static void
http_finalize (H2kFile *file)
{
  Http *http = (Http *)file;

  h2k_remote_clear (&http->remote);
  head_clear (&http->pinned);
  /* It may hold a password. */
  explicit_bzero (http->url, strlen (http->url));
  g_free (http->url);
}

static const H2kFileOps file_ops = {
    .pread = h2k_remote_pread,
    .finalize = http_finalize,
};

static gpointer
start_curl (gpointer data)
{
  return GINT_TO_POINTER (curl_global_init (CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

H2kFile *
h2k_http_open (const char *uri, GError **error)
{
  static GOnce started = G_ONCE_INIT;
  Http *http = g_new0 (Http, 1);
  g_autoptr (H2kFile) file = &http->remote.file;

  g_once (&started, start_curl, NULL);
  h2k_remote_init (&http->remote, &file_ops, &remote_ops, uri, "http");
  http->url = g_strdup (uri);
  http->remote.max_links = MAX_LINKS;
  if (!h2k_remote_run (&http->remote, try_probe, NULL, error))
    return NULL;
  http->opened = TRUE;
  if (http->pinned.status == 200 && (!http->pinned.has_total || http->pinned.total))
    return fetch_whole (http, error);
  if (!http->pinned.has_total)
    {
      set_error (error, http, "the server does not say how large the file is; download it first");
      return NULL;
    }
  if (!http->pinned.etag && !http->pinned.date)
    g_info ("%s: the server tells neither an ETag nor a date: a file that changes while it is read "
            "is only noticed by its size",
            http->remote.file.name);
  file->size = http->pinned.total;
  file->version = version_of (http);
  return g_steal_pointer (&file);
}
