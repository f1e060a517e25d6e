/* discover.c - h2k_discover(): which disks there are, and what is on them.
 *
 *   sysfs, PATHs ──► sources ──► a thread each ──► JSON objects ──► text
 *                                  │ too slow
 *                                  └──────────► "does not answer"; the thread is left alone
 *
 * A disk that hangs keeps its thread in the kernel, where nothing ends it: who waits for it gives
 * up after a time, and what the thread still has belongs to it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/discover/discover.h"
#include "migrate/sizing.h"
#include "disk/file.h"
#include "migrate/migrate.h"

#include <errno.h>
#include <sys/stat.h>

enum
{
  THREADS = 16,    /* at work at once; disks are waited for, not the processor */
  TIMEOUT_S = 10,  /* for a disk */
  IMAGE_FACTOR = 6 /* chains on slow servers take longer */
};

typedef enum
{
  JOB_WAITING,
  JOB_RUNNING,
  JOB_DONE,
  JOB_LATE,
} JobState;

/* What the threads and who waits for them share; freed by the last one. */
typedef struct
{
  gatomicrefcount ref_count;
  GMutex lock;
  GCond changed;
  GThreadPool *pool;
  DiscoverHost host;
  GCancellable *cancellable; /* may be NULL */
} Crew;

typedef struct
{
  Crew *crew;
  gatomicrefcount ref_count;
  DiscoverSource *source; /* the thread's, once it runs */
  JobState state;         /* under the crew's lock, as the rest */
  gint64 started;         /* microseconds */
  JsonObject *disk;       /* what is known before, then what was found */
  gint64 limit;           /* microseconds */
} Job;

/* --- the public structures -------------------------------------------------------------------- */

struct _H2kDiscovery
{
  JsonObject *root;
};

H2kDiscoverOptions *
h2k_discover_options_new (void)
{
  H2kDiscoverOptions *options = g_new0 (H2kDiscoverOptions, 1);

  options->paths = g_ptr_array_new_with_free_func (g_free);
  options->keys = g_ptr_array_new_with_free_func (g_free);
  return options;
}

void
h2k_discover_options_free (H2kDiscoverOptions *options)
{
  if (!options)
    return;
  g_ptr_array_unref (options->paths);
  g_ptr_array_unref (options->keys);
  g_free (options);
}

void
h2k_discovery_free (H2kDiscovery *discovery)
{
  if (!discovery)
    return;
  json_object_unref (discovery->root);
  g_free (discovery);
}

char *
h2k_discovery_to_json (const H2kDiscovery *discovery)
{
  g_autoptr (JsonNode) node = json_node_new (JSON_NODE_OBJECT);

  json_node_set_object (node, discovery->root);
  return json_to_string (node, TRUE);
}

char *
h2k_discovery_to_text (const H2kDiscovery *discovery, gboolean details)
{
  return discover_to_text (discovery->root, details);
}

guint
h2k_discovery_unread (const H2kDiscovery *discovery)
{
  JsonArray *disks = discover_array (discovery->root, "disks");
  guint unread = 0;

  for (guint i = 0; i < json_array_get_length (disks); i++)
    unread += discover_object (json_array_get_object_element (disks, i), "error") != NULL;
  return unread;
}

/* --- jobs ------------------------------------------------------------------------------------- */

static void
crew_unref (Crew *crew)
{
  if (!g_atomic_ref_count_dec (&crew->ref_count))
    return;
  g_mutex_clear (&crew->lock);
  g_cond_clear (&crew->changed);
  g_clear_object (&crew->cancellable);
  g_ptr_array_unref (crew->host.keys);
  g_free (crew);
}

static void
job_unref (Job *job)
{
  if (!g_atomic_ref_count_dec (&job->ref_count))
    return;
  discover_source_free (job->source);
  json_object_unref (job->disk);
  crew_unref (job->crew);
  g_free (job);
}

static Job *
job_new (Crew *crew, DiscoverSource *source)
{
  Job *job = g_new0 (Job, 1);
  gboolean is_device = source->attached && source->attached->is_device;

  g_atomic_ref_count_init (&job->ref_count);
  g_atomic_ref_count_inc (&crew->ref_count);
  job->crew = crew;
  job->source = source;
  job->disk = discover_describe (source);
  job->limit = (is_device ? TIMEOUT_S : TIMEOUT_S * IMAGE_FACTOR) * G_USEC_PER_SEC;
  return job;
}

/* DISK is taken. */
static void
finish (Job *job, JsonObject *disk)
{
  Crew *crew = job->crew;

  discover_set_number (disk, "milliseconds",
                       (guint64)(g_get_monotonic_time () - job->started) / 1000);
  g_mutex_lock (&crew->lock);
  if (job->state == JOB_RUNNING)
    {
      JsonObject *before = job->disk;
      job->disk = disk;
      disk = before;
      job->state = JOB_DONE;
    }
  json_object_unref (disk);
  g_cond_broadcast (&crew->changed);
  g_mutex_unlock (&crew->lock);
}

static void
run_job (gpointer data, gpointer unused)
{
  Job *job = data;
  Crew *crew = job->crew;
  JsonObject *disk;

  if (crew->cancellable && g_cancellable_is_cancelled (crew->cancellable))
    {
      job_unref (job);
      return;
    }
  disk = discover_describe (job->source);
  g_mutex_lock (&crew->lock);
  job->state = JOB_RUNNING;
  job->started = g_get_monotonic_time ();
  g_mutex_unlock (&crew->lock);
  if (crew->cancellable)
    g_cancellable_push_current (crew->cancellable);
  discover_look (job->source, &crew->host, disk);
  if (crew->cancellable)
    g_cancellable_pop_current (crew->cancellable);
  finish (job, disk);
  job_unref (job);
}

/* JOB has taken too long: another thread does what this one was to do next. */
static void
give_up (Job *job)
{
  g_autoptr (GError) error
      = g_error_new (H2K_ERROR, H2K_ERROR_SOURCE, "%s: does not answer within %d seconds",
                     job->source->shown, (int)(job->limit / G_USEC_PER_SEC));

  job->state = JOB_LATE;
  discover_set_error (
      job->disk, error,
      "look at the kernel's messages (dmesg); the disk or its cable may be failing");
  g_thread_pool_set_max_threads (job->crew->pool,
                                 g_thread_pool_get_max_threads (job->crew->pool) + 1, NULL);
}

/* Whether all jobs are through; else *NEXT is when to look again. Called with the lock held. */
static gboolean
all_through (const GPtrArray *jobs, gint64 *next)
{
  gint64 now = g_get_monotonic_time ();
  gboolean through = TRUE;

  *next = now + G_USEC_PER_SEC / 5; /* somebody may cancel */
  for (guint i = 0; i < jobs->len; i++)
    {
      Job *job = jobs->pdata[i];
      if (job->state == JOB_RUNNING && now - job->started >= job->limit)
        give_up (job);
      through = through && (job->state == JOB_DONE || job->state == JOB_LATE);
      if (job->state == JOB_RUNNING)
        *next = MIN (*next, job->started + job->limit);
    }
  return through;
}

static gboolean
wait_for (Crew *crew, const GPtrArray *jobs, GError **error)
{
  gboolean cancelled = FALSE;
  gint64 next;

  g_mutex_lock (&crew->lock);
  while (!all_through (jobs, &next) && !(cancelled = h2k_is_cancelled (crew->cancellable, error)))
    g_cond_wait_until (&crew->changed, &crew->lock, next);
  g_mutex_unlock (&crew->lock);
  return !cancelled;
}

/* Look at SOURCES, whose elements are taken, into DISKS. */
static gboolean
look_at_all (Crew *crew, GPtrArray *sources, JsonArray *disks, GError **error)
{
  g_autoptr (GPtrArray) jobs = g_ptr_array_new_with_free_func ((GDestroyNotify)job_unref);
  gboolean ok;

  crew->pool = g_thread_pool_new (run_job, NULL, THREADS, FALSE, NULL);
  for (guint i = 0; i < sources->len; i++)
    g_ptr_array_add (jobs, job_new (crew, sources->pdata[i]));
  g_ptr_array_set_free_func (sources, NULL);
  for (guint i = 0; i < jobs->len; i++)
    {
      Job *job = jobs->pdata[i];
      g_atomic_ref_count_inc (&job->ref_count);
      g_thread_pool_push (crew->pool, job, NULL);
    }
  ok = wait_for (crew, jobs, error);
  for (guint i = 0; ok && i < jobs->len; i++)
    json_array_add_object_element (disks, json_object_ref (((Job *)jobs->pdata[i])->disk));
  /* What hangs is not waited for; after a cancel, what was not begun ends at once. */
  g_thread_pool_free (crew->pool, FALSE, FALSE);
  return ok;
}

/* --- what to look at -------------------------------------------------------------------------- */

static void
add_attached (GPtrArray *attached, GPtrArray *sources)
{
  g_ptr_array_set_free_func (attached, NULL);
  for (guint i = 0; i < attached->len; i++)
    {
      H2kAttached *disk = attached->pdata[i];
      g_ptr_array_add (sources, discover_source_new (disk->path, disk));
    }
  g_ptr_array_unref (attached);
}

static gboolean
add_path (const H2kDiscoverOptions *options, const char *path, GPtrArray *sources,
          GCancellable *cancellable, GError **error)
{
  g_autoptr (GError) problem = NULL;
  DiscoverSource *source;
  struct stat st;

  if (h2k_file_is_uri (path))
    {
      g_ptr_array_add (sources, discover_source_new (path, NULL));
      return TRUE;
    }
  if (stat (path, &st) == 0 && S_ISDIR (st.st_mode))
    {
      if (discover_folder (path, options->recursive, sources, cancellable, &problem))
        return TRUE;
      if (problem->code == H2K_ERROR_CANCELLED)
        {
          g_propagate_error (error, g_steal_pointer (&problem));
          return FALSE;
        }
      source = discover_source_new (path, NULL);
    }
  else
    source = discover_source_new (path, h2k_attached_of_path ("", path, &problem));
  source->problem = g_steal_pointer (&problem);
  g_ptr_array_add (sources, source);
  return TRUE;
}

static gboolean
add_sources (const H2kDiscoverOptions *options, GPtrArray *sources, GCancellable *cancellable,
             GError **error)
{
  GPtrArray *attached;

  for (guint i = 0; i < options->paths->len; i++)
    if (!add_path (options, options->paths->pdata[i], sources, cancellable, error))
      return FALSE;
  if (options->paths->len > 0)
    return TRUE;
  attached = h2k_attached_list ("", error);
  if (attached)
    add_attached (attached, sources);
  return attached != NULL;
}

/* --- the host --------------------------------------------------------------------------------- */

/* proc(5): "MemTotal:       24684084 kB". */
static JsonObject *
host_to_json (const DiscoverHost *host)
{
  JsonObject *object = json_object_new ();

  discover_set_number (object, "memory_mib", host->memory_mib);
  discover_set_number (object, "cpus", host->cpus);
  return object;
}

/* The threads may outlive OPTIONS. */
static Crew *
crew_new (const H2kDiscoverOptions *options, GCancellable *cancellable)
{
  Crew *crew = g_new0 (Crew, 1);

  g_atomic_ref_count_init (&crew->ref_count);
  g_mutex_init (&crew->lock);
  g_cond_init (&crew->changed);
  crew->host = (DiscoverHost){h2k_host_memory_mib (), g_get_num_processors (),
                              g_ptr_array_new_with_free_func (g_free)};
  for (guint i = 0; i < options->keys->len; i++)
    g_ptr_array_add (crew->host.keys, g_strdup (options->keys->pdata[i]));
  crew->cancellable = cancellable ? g_object_ref (cancellable) : NULL;
  return crew;
}

H2kDiscovery *
h2k_discover (const H2kDiscoverOptions *options, GCancellable *cancellable, GError **error)
{
  g_autoptr (GPtrArray) sources
      = g_ptr_array_new_with_free_func ((GDestroyNotify)discover_source_free);
  g_autoptr (H2kKeys) keys = h2k_keys_parse (options->keys, error);
  H2kDiscovery *discovery;
  Crew *crew;
  gboolean ok;

  if (!keys || !add_sources (options, sources, cancellable, error))
    return NULL;
  crew = crew_new (options, cancellable);
  discovery = g_new0 (H2kDiscovery, 1);
  discovery->root = json_object_new ();
  discover_set_text (discovery->root, "version", H2K_VERSION);
  json_object_set_object_member (discovery->root, "host", host_to_json (&crew->host));
  ok = look_at_all (crew, sources, discover_array (discovery->root, "disks"), error);
  crew_unref (crew);
  if (!ok)
    g_clear_pointer (&discovery, h2k_discovery_free);
  return discovery;
}
