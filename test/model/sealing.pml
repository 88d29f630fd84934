/* Case-level sealing when the set of scans grows: an owner's identities are listed page by page; each scan has its own PROGRESS. 2 identities.
 KEYSHARD (as written): PROGRESS key is CASE#id#shard, so both identities' shard 0 share one item (cursor and sealed of the first stop the second)
 NOCASESEAL : closed when all PROGRESS items that exist are complete.  default (fix): PROGRESS per (scope, shard); CASE.sealed with the number of scans is written after the listing has ended; close needs it
 WHOLE      : identity 0 holds little and is listed at once: its PROGRESS, sealed, with its chunk in one transaction; no scan of it follows
 SPLIT      : the same in two steps, the chunk after what says that all is listed: a crash between them loses it
   Code: functions/plan/plan.ts, plan/whole.ts, store/units.ts (listUnit, listWhole), store/cases.ts (the seal), close/close.ts.
   Runs:
     holds
     breaks -DKEYSHARD
     breaks -DNOCASESEAL
     holds -DCR=2
     holds -DWHOLE
     holds -DWHOLE -DCR=2
     breaks -DSPLIT
*/
#ifndef CR
#define CR 1
#endif
byte crashes=CR; bit pr[2]; bit psealed[2]; bit scanned[2]; byte exp[2]; byte done[2]; bit ended[2]; bit cseal; byte nscan; bit closed; byte chunk[2];
#define CRASH if :: crashes>0 -> crashes--; printf("   crash\n"); goto dead :: true fi
#ifdef KEYSHARD
#define K(i) 0
#else
#define K(i) (i)
#endif
#ifdef NOCASESEAL
#define CS true
#define ALLP ((!pr[0] || (psealed[0] && exp[0]==done[0])) && (!pr[1] || (psealed[1] && exp[1]==done[1])) && (pr[0]||pr[1]))
#else
#define CS cseal
#define ALLP (psealed[K(0)] && exp[K(0)]==done[K(0)] && psealed[K(1)] && exp[K(1)]==done[K(1)])
#endif
inline chk() { atomic { if :: CS && ALLP && !closed -> closed=1; printf("CLOSED\n"); assert(ended[0] && ended[1]) :: else fi; CRASH } }
proctype List() {
again:
#ifdef WHOLE
 atomic { if :: !psealed[0] -> pr[0]=1; chunk[0]=1; exp[0]++; psealed[0]=1; printf("identity 0 listed at once\n") :: else fi; CRASH };
#else
#ifdef SPLIT
 atomic { if :: psealed[0] -> goto behind :: else -> pr[0]=1; psealed[0]=1; printf("identity 0 listed\n") fi; CRASH };
 atomic { chunk[0]=1; exp[0]++; printf("its chunk\n"); CRASH };
behind:
#else
 atomic { pr[0]=1; printf("identity 0 listed\n"); CRASH };
#endif
#endif
 atomic { pr[K(1)]=1; scanned[1]=1; printf("identity 1 listed\n"); CRASH };
 atomic { cseal=1; CRASH }; chk(); goto fin;
dead: goto again;
fin: skip }
proctype Scan(byte i) { if :: i==0 -> pr[0] :: else -> scanned[1] fi;
again:
 atomic { if :: psealed[K(i)] -> goto fin :: else fi };
 atomic { if :: !psealed[K(i)] && chunk[i]==0 -> chunk[i]=1; exp[K(i)]++; printf("scan %d chunk\n",i) :: else fi; CRASH };
 atomic { psealed[K(i)]=1; printf("scan %d sealed\n",i); CRASH }; chk(); goto fin;
dead: goto again;
fin: skip }
proctype Work() { byte i;
again:
end: atomic { if :: chunk[0]==1 -> i=0 :: chunk[1]==1 -> i=1 fi };
 atomic { ended[i]=1; CRASH };
 atomic { if :: chunk[i]==1 -> chunk[i]=2; done[K(i)]++; printf("chunk %d done\n",i) :: else fi; CRASH };
 chk(); goto again;
dead: goto again }
proctype Sweep() { 
end: do :: atomic { CS && ALLP && !closed && cseal -> closed=1; assert(ended[0]&&ended[1]) } od }
init { atomic { run List(); run Scan(0); run Scan(1); run Work(); run Work(); run Sweep() } timeout; assert(closed); assert(ended[0] && ended[1]) }
