/* watch.c - the growth of running clones is watched, and a VM is paused before its filesystem
 * is full, or its limit is passed.
 *
 * What wakes the watch is the write threshold of the current layer's file (QEMU's
 * block-set-write-threshold, also through libvirt), set to the next size that matters; and a clock,
 * since others write to the filesystem, too.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "clone/storage.h"
#include "migrate/clone/start.h"
#include "migrate/clone/vm.h"
#include "migrate/clone/virt.h"

#include <sys/stat.h>
#include <unistd.h>

#define WARN_PERCENT 10
/* For the first VM to come, when the watch ends with them. */
#define START_WAIT (15 * G_TIME_SPAN_SECOND)
/* A warning is taken back when there is this much more than it takes, in parts of it. */
#define RECOVERED_PART 10

typedef struct
{
  char *name;
  H2kCloneVm *vm; /* NULL: it does not run, or cannot be spoken to */
  gboolean seen;  /* in this round */
  gboolean warned, paused;
  guint unreachable; /* looks in a row that found it written to by something unknown */
  guint64 available, stored, most; /* bytes; MOST of 0: no limit */
  guint64 total;                   /* what is shared out: of the filesystem, or MOST */
  gint64 left;                     /* bytes until it is paused */
} Watched;

typedef struct
{
  const H2kCloneWatchOptions *options;
  H2kCloneStore *store;
  GPtrArray *watched; /* Watched * */
  int events;         /* libvirt's; -1: none */
} Watch;

static void
watched_free (Watched *w)
{
  h2k_clone_vm_free (w->vm);
  g_free (w->name);
  g_free (w);
}

static void
watch_clear (Watch *watch)
{
  g_clear_pointer (&watch->watched, g_ptr_array_unref);
  g_clear_pointer (&watch->store, h2k_clone_store_free);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Watch, watch_clear)

/* --- what is said ----------------------------------------------------------------------------- */

static char *
as_json (const Watched *w, const char *event, const char *text)
{
  g_autoptr (JsonNode) node = json_node_new (JSON_NODE_OBJECT);
  JsonObject *o = json_object_new ();
  g_autofree char *now = h2k_clone_time_text (g_get_real_time () / G_USEC_PER_SEC);

  json_node_take_object (node, o);
  json_object_set_string_member (o, "time", now);
  json_object_set_string_member (o, "clone", w->name);
  json_object_set_string_member (o, "event", event);
  json_object_set_int_member (o, "left", w->left);
  json_object_set_int_member (o, "available", (gint64)w->available);
  json_object_set_int_member (o, "stored", (gint64)w->stored);
  if (w->most > 0)
    json_object_set_int_member (o, "max-size", (gint64)w->most);
  json_object_set_string_member (o, "text", text);
  return json_to_string (node, FALSE);
}

static void say (const Watch *watch, const Watched *w, const char *event, const char *format, ...)
    G_GNUC_PRINTF (4, 5);

static void
say (const Watch *watch, const Watched *w, const char *event, const char *format, ...)
{
  g_autofree char *text = NULL;
  g_autofree char *line = NULL;
  va_list ap;

  va_start (ap, format);
  text = g_strdup_vprintf (format, ap);
  va_end (ap);
  line
      = watch->options->json ? as_json (w, event, text) : g_strdup_printf ("%s: %s", w->name, text);
  if (watch->options->say)
    watch->options->say (line, watch->options->say_data);
}

/* --- one clone -------------------------------------------------------------------------------- */

static gboolean
measure (const Watch *watch, const H2kClone *clone, Watched *w)
{
  g_autoptr (H2kStorage) storage = h2k_storage_of (clone->dir, NULL);
  guint64 reserve;

  if (!storage)
    return FALSE;
  reserve = watch->options->reserve ? watch->options->reserve : h2k_storage_spare (storage);
  w->available = storage->available;
  w->stored = h2k_clone_stored (clone);
  w->most = h2k_clone_max_size (clone);
  w->left = (gint64)storage->available - (gint64)reserve;
  w->total = storage->size;
  if (w->most > 0 && (gint64)w->most - (gint64)w->stored < w->left)
    {
      w->left = (gint64)w->most - (gint64)w->stored;
      w->total = w->most;
    }
  return TRUE;
}

static gint64
warn_at (const Watch *watch, const Watched *w)
{
  if (watch->options->warn_bytes > 0)
    return (gint64)watch->options->warn_bytes;
  return (gint64)(w->total / 100
                  * (watch->options->warn_percent ? watch->options->warn_percent : WARN_PERCENT));
}

/* Wake up at the next size that matters. Of several VMs on one filesystem each may write its part
 * of what is left only. */
static void
set_thresholds (const Watch *watch, const H2kClone *clone, const Watched *w)
{
  gint64 next = w->left - warn_at (watch, w);
  guint64 share;

  if (w->vm->fd < 0 && watch->events < 0)
    return;
  if (w->warned || next <= 0)
    next = w->left;
  share = (guint64)next / MAX (watch->watched->len, 1) / clone->n_disks;
  for (guint i = 0; i < clone->n_disks; i++)
    {
      g_autofree char *image = h2k_clone_image (clone, 0, i);
      g_autoptr (GError) local = NULL;
      struct stat st;

      if (stat (image, &st) == 0
          && !w->vm->ops->set_threshold (w->vm, image, (guint64)st.st_size + share, &local))
        g_debug ("%s: %s", w->name, local->message);
    }
}

static void
pause_vm (const Watch *watch, Watched *w)
{
  g_autofree char *available = h2k_format_size (w->available);
  g_autofree char *stored = h2k_format_size (w->stored);
  g_autoptr (GError) local = NULL;

  if (!w->vm->ops->pause (w->vm, &local))
    {
      say (watch, w, "error", "it should be paused, and cannot be: %s", local->message);
      return;
    }
  w->paused = TRUE;
  if (w->most > 0 && w->stored >= w->most)
    say (watch, w, "paused",
         "PAUSED: it takes %s, all that --max-size allows: `hyper2kvm clone limit %s SIZE`, then "
         "`hyper2kvm clone resume %s`",
         stored, w->name, w->name);
  else
    say (watch, w, "paused",
         "PAUSED: its filesystem has %s left: make room there, then `hyper2kvm clone resume %s`",
         available, w->name);
}

static void
warn (const Watch *watch, Watched *w)
{
  g_autofree char *left = h2k_format_size ((guint64)w->left);

  if (w->left > warn_at (watch, w) + warn_at (watch, w) / RECOVERED_PART)
    w->warned = FALSE;
  if (w->warned || w->left > warn_at (watch, w))
    return;
  w->warned = TRUE;
  say (watch, w, "warning", "%s until it is paused", left);
}

static void
tell_once (const Watch *watch, const Watched *w, H2kVmState state)
{
  g_autofree char *left = h2k_format_size ((guint64)MAX (w->left, 0));
  g_autofree char *stored = h2k_format_size (w->stored);

  say (watch, w, "state", "%s, takes %s, %s until it is paused",
       state == H2K_VM_PAUSED ? "paused" : "runs", stored, left);
}

static void
look_at (const Watch *watch, const H2kClone *clone, Watched *w)
{
  H2kVmState state = w->vm->ops->state (w->vm);

  if (state == H2K_VM_GONE)
    {
      g_clear_pointer (&w->vm, h2k_clone_vm_free);
      return;
    }
  if (!measure (watch, clone, w))
    return;
  if (state == H2K_VM_RUNNING)
    w->paused = FALSE;
  if (state == H2K_VM_RUNNING && w->left <= 0)
    pause_vm (watch, w);
  else if (watch->options->once)
    tell_once (watch, w, state);
  else
    warn (watch, w);
  if (!w->paused && w->left > 0 && !watch->options->once)
    set_thresholds (watch, clone, w);
}

/* --- all of them ------------------------------------------------------------------------------ */

static Watched *
find_watched (Watch *watch, const char *name)
{
  Watched *w;

  for (guint i = 0; i < watch->watched->len; i++)
    if (g_str_equal (((Watched *)watch->watched->pdata[i])->name, name))
      return watch->watched->pdata[i];
  w = g_new0 (Watched, 1);
  w->name = g_strdup (name);
  g_ptr_array_add (watch->watched, w);
  return w;
}

static void
look_for (Watch *watch, const char *name)
{
  g_autoptr (H2kClone) clone = h2k_clone_open (watch->store, name, H2K_CLONE_PEEK, NULL);
  g_autoptr (GError) local = NULL;
  Watched *w;

  if (!clone || h2k_clone_use (clone) != H2K_IMAGE_WRITTEN)
    return;
  w = find_watched (watch, name);
  w->seen = TRUE;
  if (!w->vm)
    w->vm = h2k_clone_vm_find (clone, !watch->options->once, &local);
  if (w->vm)
    {
      w->unreachable = 0;
      look_at (watch, clone, w);
    }
  /* Commands about clones write to images, too, and have ended by the next look. */
  else if (local && w->unreachable++ == (watch->options->once ? 0 : 1))
    say (watch, w, "error", "it is not protected: %s", local->message);
}

static gboolean
look_at_all (Watch *watch, GError **error)
{
  g_autoptr (GPtrArray) all
      = watch->options->names ? NULL : h2k_clone_store_list (watch->store, error);

  if (!watch->options->names && !all)
    return FALSE;
  for (guint i = 0; i < watch->watched->len; i++)
    ((Watched *)watch->watched->pdata[i])->seen = FALSE;
  for (guint i = 0; all && i < all->len; i++)
    look_for (watch, all->pdata[i]);
  for (guint i = 0; !all && watch->options->names[i]; i++)
    look_for (watch, watch->options->names[i]);
  /* Those that have ended are forgotten. */
  for (guint i = watch->watched->len; i-- > 0;)
    if (!((Watched *)watch->watched->pdata[i])->seen)
      g_ptr_array_remove_index (watch->watched, i);
  return TRUE;
}

/* Until something has happened, but at most the interval. */
static void
wait_for_news (Watch *watch, GCancellable *cancellable)
{
  guint n = watch->watched->len;
  g_autofree GPollFD *polls = g_new0 (GPollFD, n + 2);
  gboolean have_cancel;
  char buffer[64];

  for (guint i = 0; i < n; i++)
    {
      const Watched *w = watch->watched->pdata[i];
      polls[i].fd = w->vm ? w->vm->fd : -1;
      polls[i].events = G_IO_IN;
    }
  polls[n].fd = watch->events;
  polls[n].events = G_IO_IN;
  have_cancel = cancellable && g_cancellable_make_pollfd (cancellable, &polls[n + 1]);
  g_poll (polls, have_cancel ? n + 2 : n + 1, (int)(MAX (watch->options->interval, 0.05) * 1000));
  if (have_cancel)
    g_cancellable_release_fd (cancellable);
  for (guint i = 0; i < n; i++)
    if (polls[i].revents != 0)
      h2k_clone_vm_drain (((Watched *)watch->watched->pdata[i])->vm);
  while (watch->events >= 0 && read (watch->events, buffer, sizeof buffer) > 0)
    ;
}

static gboolean
check_names (Watch *watch, GError **error)
{
  for (guint i = 0; watch->options->names && watch->options->names[i]; i++)
    {
      g_autoptr (H2kClone) clone
          = h2k_clone_open (watch->store, watch->options->names[i], H2K_CLONE_PEEK, error);
      if (!clone)
        return FALSE;
    }
  return TRUE;
}

gboolean
h2k_clones_watch (const H2kCloneWatchOptions *options, GCancellable *cancellable, GError **error)
{
  g_auto (Watch) watch = {.options = options, .events = -1};
  gint64 begun = g_get_monotonic_time ();
  gboolean any = FALSE;

  watch.watched = g_ptr_array_new_with_free_func ((GDestroyNotify)watched_free);
  watch.store = h2k_clone_store_open (options->state_dir, error);
  if (!watch.store || !check_names (&watch, error))
    return FALSE;
  if (!options->once)
    watch.events = h2k_virt_listen ();
  while (look_at_all (&watch, error))
    {
      any |= watch.watched->len > 0;
      if (options->once
          || (options->until_stopped && watch.watched->len == 0
              && (any || g_get_monotonic_time () - begun > START_WAIT)))
        return TRUE;
      wait_for_news (&watch, cancellable);
      if (g_cancellable_is_cancelled (cancellable))
        return !h2k_is_cancelled (cancellable, error);
    }
  return FALSE;
}
